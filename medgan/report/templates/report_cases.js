// The table of all cases, by pages, and the panel of one case.

const PAGE_SIZE = 50;
const LONG_NAME = 18; // characters
const FEW_ORGANS = 5; // up to so many stand side by side in the panel
const cases = { rows: [], shown: [], page: 0, column: null, descending: false };

function cell(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function headingOf(metric) {
  return metric.unit ? [`${metric.title} `, cell("span", metric.unit, { class: "unit" })] : [metric.title];
}

// A name that is not broken; a long one is, if there is no room, after an underscore if there is one.
function named(text, tag = "span", attributes = {}) {
  if (text.length <= LONG_NAME) return cell(tag, text, { class: "name", ...attributes });
  const made = cell(tag, "", { class: "name long", ...attributes });
  text.split(/(?<=_)/).forEach((part, i) => made.append(...(i ? [document.createElement("wbr"), part] : [part])));
  return made;
}

function linkTo(place) {
  return named(data.cases[place], "a", { href: `#case=${encodeURIComponent(data.cases[place])}` });
}

function mark(status) {
  const text = { m: "missed", i: "invented", a: "in neither" }[status];
  return text ? cell("span", text, { class: status === "a" ? "quiet" : "mark" }) : "";
}

// ---- table ----

function makeCaseTable() {
  data.cases.forEach((_, place) => data.organs.forEach((_, organ) => {
    if (data.status[organ][place] !== "-") cases.rows.push({ place, organ, status: data.status[organ][place] });
  }));
  const head = document.createElement("tr");
  const columns = [["Case", "case"], ["Organ", "organ"], ["", "status"], ...data.metrics.map((m, i) => [headingOf(m), i])];
  for (const [title, column] of columns) {
    const heading = cell("th", "", { scope: "col", class: typeof column === "number" || column === "case" ? "" : "words" });
    if (column === "status") heading.append(cell("span", "Missed or invented", { class: "hidden" }));
    else {
      const button = cell("button", "", { type: "button" });
      button.append(...[title].flat());
      button.addEventListener("click", () => sortCases(column, heading));
      heading.append(button);
      if (column === 0) button.dataset.first = "";
    }
    head.append(heading);
  }
  caseTable().tHead.append(head);
  const organs = document.getElementById("organ-filter");
  data.organs.forEach((name, organ) => organs.append(cell("option", name, { value: organ })));
  const changed = () => { cases.page = 0; filterCases(); };
  for (const id of ["case-filter", "organ-filter", "status-filter"]) document.getElementById(id).addEventListener("input", changed);
  document.querySelector("#case-pages .previous").addEventListener("click", () => turnPage(-1));
  document.querySelector("#case-pages .next").addEventListener("click", () => turnPage(1));
  if (cases.rows.length > PAGE_SIZE) document.getElementById("cases").dataset.pages = ""; // too many for paper
  const first = head.querySelector("[data-first]"); // the first metric: worst cases on top
  sortCases(0, first.closest("th"), data.metrics[0].better === "lower");
}

function caseTable() {
  return document.querySelector("#cases table");
}

function sortCases(column, heading, descending = heading.getAttribute("aria-sort") === "ascending") {
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  [cases.column, cases.descending, cases.page] = [column, descending, 0];
  const key = {
    case: (row) => data.cases[row.place],
    organ: (row) => data.organs[row.organ],
  }[column] ?? ((row) => effective(column, row.organ, row.place));
  cases.rows.sort(comparing(key, descending));
  filterCases();
}

function filterCases() {
  const [text, organ, status] = ["case-filter", "organ-filter", "status-filter"].map((id) => document.getElementById(id).value);
  const wanted = text.trim().toLowerCase();
  cases.shown = cases.rows.filter((row) => (organ === "" || row.organ === Number(organ))
    && (status === "" || row.status === status)
    && isNamed(data.organs[row.organ], agreements.wanted)
    && isNamed(data.cases[row.place], wanted));
  showPage();
}

function turnPage(by) {
  cases.page += by;
  showPage();
  caseTable().parentNode.scrollTop = 0;
}

function showPage() {
  const first = cases.page * PAGE_SIZE;
  const rows = cases.shown.slice(first, first + PAGE_SIZE);
  caseTable().tBodies[0].replaceChildren(...rows.map(caseRow));
  const number = (n) => n.toLocaleString("en");
  document.getElementById("case-count").textContent = rows.length
    ? `${number(first + 1)}–${number(first + rows.length)} of ${number(cases.shown.length)}` : "No case fits.";
  document.querySelector("#case-pages .previous").disabled = first === 0;
  document.querySelector("#case-pages .next").disabled = first + PAGE_SIZE >= cases.shown.length;
}

function caseRow({ place, organ, status }) {
  const row = document.createElement("tr");
  [row.dataset.case, row.dataset.organ] = [data.cases[place], data.organs[organ]];
  const name = cell("th", "", { scope: "row" });
  name.append(linkTo(place));
  const problem = cell("td", "", { class: "words" });
  problem.append(mark(status));
  const found = cell("td", "", { class: "organ" });
  found.append(named(data.organs[organ]));
  row.append(name, found, problem);
  data.metrics.forEach((_, metric) => row.append(valueCell(metric, organ, place)));
  return row;
}

function valueCell(metric, organ, place) {
  const made = cell("td", "");
  const value = effective(metric, organ, place);
  const isPenalty = value !== null && data.values[metric][organ][place] === null;
  made.append(isPenalty ? cell("span", format(value, data.metrics[metric]), { class: "penalty", title: "penalised" }) : format(value, data.metrics[metric]));
  return made;
}

// ---- panel ----

// A case is open as long as the address says #case=its name, so links, reload and Back work as anywhere.
function openCase(name) {
  location.hash = `case=${encodeURIComponent(name)}`;
}

function followAddress() {
  const found = /^#case=(.*)$/.exec(location.hash);
  const place = found ? data.cases.indexOf(decoded(found[1])) : -1;
  const panel = document.getElementById("case-panel");
  if (place >= 0) showCase(place);
  else if (panel.open) panel.close();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not ours: somebody typed it
  }
}

// The cases as the table has them, each once; all of them if the one wanted is filtered away.
function orderOfCases(place) {
  const shown = [...new Set(cases.shown.map((row) => row.place))];
  return shown.includes(place) ? shown : [...new Set(cases.rows.map((row) => row.place))];
}

function showCase(place) {
  const panel = document.getElementById("case-panel");
  const [order, name] = [orderOfCases(place), data.cases[place]];
  pointAt(null);
  document.getElementById("case-name").textContent = name;
  document.getElementById("case-place").textContent = `${order.indexOf(place) + 1} of ${order.length}`;
  panel.dataset.case = name;
  const picture = document.getElementById("case-picture");
  const shown = [...document.querySelectorAll("#pictures figure")].find((figure) => figure.dataset.case === name);
  picture.hidden = !shown;
  picture.src = shown ? shown.querySelector("img").src : "data:,";
  picture.alt = `Slices of ${name} with prediction and reference`;
  const view = document.getElementById("case-view");
  view.hidden = !data.viewer.includes(name);
  view.dataset.viewCase = name;
  for (const [id, by] of [["case-previous", -1], ["case-next", 1]]) {
    document.getElementById(id).disabled = order[order.indexOf(place) + by] === undefined;
  }
  fillPanel(panel.querySelector("table"), place);
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
}

// Few organs stand side by side, a metric per line; many below each other.
function fillPanel(table, place) {
  const organs = data.organs.map((_, organ) => organ).filter((organ) => data.status[organ][place] !== "-");
  const metrics = data.metrics.map((_, metric) => metric);
  const organHeading = (organ, scope) => {
    const heading = cell("th", "", { scope });
    heading.append(named(data.organs[organ]));
    if (data.status[organ][place] !== ".") heading.append(" ", mark(data.status[organ][place]));
    return heading;
  };
  const metricHeading = (metric, scope) => {
    const heading = cell("th", "", { scope });
    heading.append(...headingOf(data.metrics[metric]));
    return heading;
  };
  const few = organs.length <= FEW_ORGANS;
  const [columns, rows] = few ? [organs, metrics] : [metrics, organs];
  const [columnHeading, rowHeading] = few ? [organHeading, metricHeading] : [metricHeading, organHeading];
  const head = document.createElement("tr");
  head.append(cell("th", few ? "Metric" : "Organ", { scope: "col" }), ...columns.map((c) => columnHeading(c, "col")));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows.map((r) => {
    const row = document.createElement("tr");
    row.append(rowHeading(r, "row"), ...columns.map((c) => {
      const [metric, organ] = few ? [r, c] : [c, r];
      const made = valueCell(metric, organ, place);
      [made.dataset.metric, made.dataset.organ] = [data.metrics[metric].name, data.organs[organ]];
      return made;
    }));
    return row;
  }));
}

function stepCase(by) {
  const place = data.cases.indexOf(document.getElementById("case-panel").dataset.case);
  const order = orderOfCases(place);
  const next = order[order.indexOf(place) + by];
  if (next !== undefined) openCase(data.cases[next]);
}

function listenToPanel() {
  const panel = document.getElementById("case-panel");
  const listen = (id, act) => document.getElementById(id).addEventListener("click", act);
  listen("case-previous", () => stepCase(-1));
  listen("case-next", () => stepCase(1));
  listen("case-close", () => panel.close());
  listen("case-view", () => panel.close()); // the viewer hears the click as well
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); }); // beside it
  panel.addEventListener("close", () => { if (location.hash.startsWith("#case=")) history.replaceState(null, "", "#"); });
  panel.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") stepCase(-1);
    if (event.key === "ArrowRight") stepCase(1);
  });
  addEventListener("hashchange", followAddress);
}
