// What the parts of the page share, and the start. The three files run as one module: plots, cases, this.

const MOST_PRINTED_DOTS = 60_000;
const data = JSON.parse(document.getElementById("scores").textContent);

function minus(text) {
  return text.replace("-", "−");
}

function format(value, metric) {
  if (value === null || Number.isNaN(value)) return "–";
  const text = value.toFixed(metric.decimals);
  return Number(text) === 0 ? text.replace("-", "") : minus(text);
}

function titleOf(metric) {
  return metric.unit ? `${metric.title} in ${metric.unit}` : metric.title;
}

function metricIndex(name) {
  return data.metrics.findIndex((metric) => metric.name === name);
}

function eachCase(organ, act) {
  const status = data.status[organ];
  for (let place = 0; place < status.length; place += 1) if (status[place] !== "-") act(place);
}

function isMissedOrInvented(organ, place) {
  return data.status[organ][place] === "m" || data.status[organ][place] === "i";
}

// Whether a value is none that was measured: undefined, or the worst possible one by definition.
function standsAside(metric, organ, place) {
  return data.values[metric][organ][place] === null
    || (data.metrics[metric].worst !== null && isMissedOrInvented(organ, place));
}

// The value that counts: under the policy "penalise" what is undefined for want of the organ is the worst possible.
function effective(metric, organ, place) {
  const [value, { worst }] = [data.values[metric][organ][place], data.metrics[metric]];
  if (value !== null || data.diagonals === null || !isMissedOrInvented(organ, place)) return value;
  return worst === "diagonal" ? data.diagonals[place] : worst;
}

function valueText(metric, organ, place) {
  const [value, about] = [effective(metric, organ, place), data.metrics[metric]];
  const status = { m: ", missed", i: ", invented", a: ", in neither volume" }[data.status[organ][place]] ?? "";
  if (value === null) return `${about.title} undefined${status}`;
  const penalised = data.values[metric][organ][place] === null ? " (penalty)" : "";
  return `${about.title} ${format(value, about)}${about.unit ? ` ${about.unit}` : ""}${penalised}${status}`;
}

// An order by key, numbers by size and texts as people sort them; what is undefined comes last either way.
const collator = new Intl.Collator("en", { numeric: true });
function comparing(key, descending) {
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "string" ? collator.compare(x, y) : x - y;
    return descending ? -order : order;
  };
}

// ---- tables that stand in the page: a click on a heading sorts by what the cells carry in data-value ----

function valueOfCell(text) {
  if (text === undefined || text === "nan") return null;
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function sortRows(heading) {
  const body = heading.closest("table").tBodies[0];
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const isName = heading.cellIndex === 0;
  const key = (row) => (isName ? row.dataset.organ : valueOfCell(row.cells[heading.cellIndex].dataset.value));
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...[...body.rows].sort(comparing(key, descending)));
}

function listenToTables() {
  for (const button of document.querySelectorAll("#summary th button, #plot th button")) {
    button.addEventListener("click", () => sortRows(button.closest("th")));
  }
  document.getElementById("organ-search")?.addEventListener("input", (event) => showOrgans(event.target.value));
}

function isNamed(name, wanted) {
  return name.toLowerCase().includes(wanted);
}

function showOrgans(text) {
  agreements.wanted = text.trim().toLowerCase();
  drawAgreements();
  cases.page = 0;
  filterCases();
  for (const row of document.querySelectorAll("#summary tr[data-organ], #plot tr[data-organ]")) {
    row.hidden = !isNamed(row.dataset.organ, agreements.wanted);
  }
}

// On paper every metric has its plot; where that would be a book, only the one that is chosen.
function drawForPrint() {
  const isBook = data.metrics.length * data.organs.length * data.cases.length > MOST_PRINTED_DOTS;
  const printed = isBook ? ":not([hidden])" : "";
  for (const section of document.querySelectorAll(`#plot:not(.chosen) .metric${printed}, .metric:not([hidden])`)) drawMetric(section);
  for (const strip of [...unseen.keys()]) drawUnseen(strip);
}

function start() {
  makeCaseTable();
  listenToTables();
  listenToPlots();
  listenToPanel();
  chooseMetric(data.metrics[0].name);
  drawAgreements();
  let waiting = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      drawMetric(document.querySelector("section.metric:not([hidden])"));
      drawAgreements();
    });
  }).observe(document.getElementById("plot"));
  addEventListener("beforeprint", drawForPrint);
  followAddress();
  document.documentElement.dataset.drawn = Math.round(performance.now());
}

start();
