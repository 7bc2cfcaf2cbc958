"""START HERE: the rooms joined in order, one short function per job.

Each job imports the rooms it walks through when it is called, so that a command waits for no library it does not use.
"""

from medgan.pipeline.data import check, manifest, phantom
from medgan.pipeline.evaluation import compare, evaluate, report
from medgan.pipeline.model import predict, train
from medgan.pipeline.outcome import Outcome

__all__ = ["Outcome", "check", "compare", "evaluate", "manifest", "phantom", "predict", "report", "train"]
