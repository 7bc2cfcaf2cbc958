// Plots: a strip of all cases per organ and metric, and Bland-Altman plots. Drawn as SVG, a circle per case.

const SVG = "http://www.w3.org/2000/svg";
const [AXIS_HEIGHT, LINE_HEIGHT] = [22, 13];
const NARROW = 360;
const [LANE, NARROW_LANE] = [{ width: 92, gap: 22 }, { width: 60, gap: 26 }]; // of hollow dots, right of a gap
const LANE_WORDS = { m: "missed", i: "invented", a: "in neither", ".": "undefined" };
const LAZY_DOTS = 10_000; // where a metric has more, a strip is drawn when it comes into view
const [MIN_STRIP, MAX_STRIP, STRIP_PADDING] = [280, 760, 16];
const MANY_ORGANS = 12;
const REACH = 12; // pixels within which the pointer finds a dot
const FIRST_AGREEMENTS = 6;
const agreements = { all: false, wanted: "" }; // which organs to show
const points = new WeakMap(); // svg -> [{circle, x, y, place, metric, organ}], from left to right
const unseen = new Map(); // cell -> what draws its strip
const whenSeen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) drawUnseen(target);
});
let pointed = null; // the dot that the tooltip tells of

function svg(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
}

// Two ends with something between them: a lone value is an end, a fifth of it the span.
function apart(low, high) {
  if (low < high) return [low, high];
  return high === 0 ? [0, 1] : [high, 0.8 * high].sort((a, b) => a - b);
}

// The ends of an axis that holds all values, and the step between its ticks.
function axisOf(values, ends, numTicks = 5) {
  const low = Math.min(...ends, values.reduce((a, b) => Math.min(a, b), Infinity));
  const high = Math.max(...ends, values.reduce((a, b) => Math.max(a, b), -Infinity));
  const [from, to] = Number.isFinite(low) && Number.isFinite(high) ? apart(low, high) : [0, 1];
  const span = to - from;
  const power = 10 ** Math.floor(Math.log10(span / numTicks));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= (span / numTicks) * 0.999);
  const first = Math.floor(from / step + 1e-9);
  const last = Math.max(Math.ceil(to / step - 1e-9), first + 1);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  return { low: first * step, high: last * step, ticks, text: (v) => minus(String(Number(v.toPrecision(10)))) };
}

// Spread dots up and down so that they do not hide each other: those of one column are stacked around the middle.
function stacked(xs, height, radius) {
  const columns = new Map();
  xs.forEach((x, i) => {
    const column = Math.round(x / (2 * radius));
    if (!columns.has(column)) columns.set(column, []);
    columns.get(column).push(i);
  });
  const ys = new Array(xs.length);
  for (const members of columns.values()) {
    const gap = Math.min(2 * radius + 0.8, (height - 2 * radius - 2) / Math.max(members.length - 1, 1));
    members.forEach((i, place) => { ys[i] = height / 2 + (place % 2 ? -1 : 1) * Math.ceil(place / 2) * gap; });
  }
  return ys;
}

// ---- strips ----

function stripScale(metric, width) {
  const isAside = (organ, place) => standsAside(metric, organ, place);
  const values = [];
  const aside = new Set();
  data.organs.forEach((_, organ) => eachCase(organ, (place) => {
    if (isAside(organ, place)) aside.add(data.status[organ][place]);
    else values.push(data.values[metric][organ][place]);
  }));
  const { unit, decimals } = data.metrics[metric];
  const isShare = unit === "" && decimals > 0;
  const axis = axisOf(values, isShare && values.length ? [1] : isShare ? [0, 1] : [0], width < 420 ? 3 : 5);
  const words = Object.keys(LANE_WORDS).filter((status) => aside.has(status)).map((status) => LANE_WORDS[status]);
  const lane = width < NARROW ? NARROW_LANE : LANE;
  const right = width - (words.length ? lane.width + lane.gap : 9);
  const x = (value) => 9 + ((value - axis.low) / (axis.high - axis.low)) * (right - 9);
  return { axis, x, right, width, words, edge: width - lane.width };
}

function drawAxis(scale) {
  const { axis, x, width, words, edge } = scale;
  const height = Math.max(AXIS_HEIGHT, LINE_HEIGHT * words.length + 9);
  const drawn = svg("svg", { class: "axis", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  const centred = (at, y, text, kind) => {
    svg("text", { x: at, y, "text-anchor": "middle", class: kind }, drawn).textContent = text;
  };
  for (const tick of axis.ticks) centred(x(tick), height - 8, axis.text(tick), "tick");
  words.forEach((word, i) => centred((edge + width) / 2, height - 8 - LINE_HEIGHT * (words.length - 1 - i), word, "aside"));
  if (words.length) svg("line", { class: "edge", x1: edge, x2: edge, y1: 0, y2: height }, drawn);
  return drawn;
}

function drawStrip(metric, organ, scale) {
  const height = data.organs.length > MANY_ORGANS ? 30 : 48;
  const { axis, x, width } = scale;
  const shown = [];
  eachCase(organ, (place) => shown.push(place));
  const radius = shown.length > 400 ? 2 : shown.length > 120 || width < NARROW ? 2.6 : 3.6;
  const drawn = svg("svg", { class: "strip", viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "group" });
  drawn.setAttribute("aria-label", `${data.organs[organ]}: ${titleOf(data.metrics[metric])} of ${shown.length} cases. `
    + "Left and right arrow keys go from case to case, Enter opens one.");
  for (const tick of axis.ticks) svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 0, y2: height }, drawn);
  if (scale.words.length) svg("line", { class: "edge", x1: scale.edge, x2: scale.edge, y1: 0, y2: height }, drawn);
  const box = data.boxes[metric][organ];
  const clamped = (value) => Math.min(Math.max(x(value), 2), scale.right + 7);
  if (box) {
    const [low, high] = [clamped(box[0]), clamped(box[2])];
    svg("rect", { class: "box", x: low, y: 3, width: Math.max(high - low, 1), height: height - 6, rx: 2 }, drawn);
  }
  const kinds = Object.keys(LANE_WORDS);
  const kind = (place) => kinds.indexOf(data.status[organ][place]);
  const aside = shown.filter((place) => standsAside(metric, organ, place)).sort((a, b) => kind(a) - kind(b));
  const measured = shown.filter((place) => !standsAside(metric, organ, place));
  const xs = measured.map((place) => x(data.values[metric][organ][place]));
  const dots = [
    ...placed(measured, xs, stacked(xs, height, radius)),
    ...besides(aside, scale, height, radius),
  ];
  drawDots(drawn, dots, radius, metric, organ, new Set(aside));
  (box ?? []).forEach((value, i) => {
    const [line, inset] = i === 1 ? ["median", 1] : ["quartile", 3];
    svg("line", { class: line, x1: clamped(value), x2: clamped(value), y1: inset, y2: height - inset }, drawn);
  });
  return drawn;
}

function placed(places, xs, ys) {
  return places.map((place, i) => ({ place, x: xs[i], y: ys[i] }));
}

// Fill the lane at the side row by row: these dots have no value to stand at.
function besides(places, { width, edge }, height, radius) {
  const gap = 2 * radius + 1.6;
  const columns = Math.max(1, Math.floor((width - edge - 16) / gap) + 1);
  const rows = Math.ceil(places.length / columns);
  const rowGap = Math.min(gap, (height - 2 * radius - 2) / Math.max(rows - 1, 1));
  const filled = Math.min(columns, places.length);
  return places.map((place, i) => ({
    place,
    x: (edge + width) / 2 + ((i % columns) - (filled - 1) / 2) * gap,
    y: height / 2 + (Math.floor(i / columns) - (rows - 1) / 2) * rowGap,
  }));
}

function drawDots(drawn, dots, radius, metric, organ, aside) {
  const group = svg("g", { class: dots.length > 120 ? "dense" : "" }, drawn);
  dots.sort((a, b) => a.x - b.x);
  for (const dot of dots) {
    dot.circle = svg("circle", { cx: dot.x.toFixed(1), cy: dot.y.toFixed(1), r: radius }, group);
    dot.circle.dataset.case = data.cases[dot.place];
    dot.circle.dataset.organ = data.organs[organ];
    if (aside.has(dot.place)) dot.circle.classList.add("undefined");
    dot.metric = metric;
    dot.organ = organ;
  }
  points.set(drawn, dots);
}

function drawMetric(section) {
  section.dataset.width ??= ""; // it is not displayed, and has no width to measure, without
  const width = stripWidth();
  if (section.dataset.width === String(width)) return;
  section.dataset.width = width;
  const metric = data.metrics.findIndex((m) => m.name === section.dataset.metric);
  const scale = stripScale(metric, width);
  section.querySelector("th.strip").replaceChildren(drawAxis(scale));
  const isLazy = data.organs.length * data.cases.length > LAZY_DOTS;
  for (const row of section.querySelectorAll("tbody tr")) {
    const strip = row.querySelector("td.strip");
    unseen.set(strip, () => strip.replaceChildren(drawStrip(metric, data.organs.indexOf(row.dataset.organ), scale)));
    whenSeen.unobserve(strip); // if it is being waited for, anew
    if (isLazy) whenSeen.observe(strip);
    else drawUnseen(strip);
  }
}

function drawUnseen(strip) {
  unseen.get(strip)?.();
  unseen.delete(strip);
  whenSeen.unobserve(strip);
}

// Strips of all metrics share one width: what the numbers beside them leave free, or, on a narrow screen, what the
// organ's name does, and the numbers are scrolled to.
function stripWidth() {
  const section = document.querySelector("section.metric:not([hidden])");
  const [box, table] = [section.querySelector(".scroll"), section.querySelector("table")];
  table.classList.add("bare");
  const [all, name] = [table.offsetWidth, table.rows[0].cells[0].offsetWidth];
  table.classList.remove("bare");
  const free = box.clientWidth - all - STRIP_PADDING;
  return Math.round(free >= MIN_STRIP ? Math.min(free, MAX_STRIP) : Math.max(box.clientWidth - name - STRIP_PADDING - 20, 200));
}

function chooseMetric(name) {
  for (const button of document.querySelectorAll("button[data-metric]")) {
    button.setAttribute("aria-pressed", String(button.dataset.metric === name));
  }
  for (const section of document.querySelectorAll("section.metric")) section.hidden = section.dataset.metric !== name;
  drawMetric(document.getElementById(`metric-${name}`));
}

// ---- Bland-Altman ----

function drawAgreement(organ, width) {
  const height = 240;
  const [left, right, top, bottom] = [52, 14, 20, 42];
  const a = data.agreement[organ];
  const [reference, prediction] = ["reference_ml", "prediction_ml"].map((name) => data.values[metricIndex(name)][organ]);
  const shown = [];
  eachCase(organ, (place) => { if (data.status[organ][place] !== "a") shown.push(place); });
  const means = shown.map((place) => (reference[place] + prediction[place]) / 2);
  const differences = shown.map((place) => prediction[place] - reference[place]);
  const limits = [a.lower, a.upper, a.lower_low, a.upper_high].filter((v) => v !== null);
  const least = Math.max(...means) / 100; // a difference is small or large beside the volume
  const [across, up] = [axisOf(means, [], 4), axisOf([...differences, ...limits], [-least, least], 4)];
  const x = (value) => left + ((value - across.low) / (across.high - across.low)) * (width - left - right);
  const y = (value) => height - bottom - ((value - up.low) / (up.high - up.low)) * (height - top - bottom);
  const drawn = svg("svg", { class: "agreement", viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "group" });
  drawn.setAttribute("aria-label", `${data.organs[organ]}: Bland-Altman plot of ${shown.length} cases. `
    + "Left and right arrow keys go from case to case, Enter opens one.");
  for (const tick of up.ticks) {
    svg("line", { class: tick === 0 ? "zero" : "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }, drawn);
    svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, drawn).textContent = up.text(tick);
  }
  for (const tick of across.ticks) {
    svg("text", { x: x(tick), y: height - bottom + 18, "text-anchor": "middle" }, drawn).textContent = across.text(tick);
  }
  svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, drawn).textContent = "mean of both volumes, ml";
  svg("text", { x: 0, y: 10 }, drawn).textContent = "difference, ml";
  const ends = { x1: left, x2: width - right };
  for (const [name, kind] of [["bias", "median"], ["lower", "limit"], ["upper", "limit"]]) {
    if (a[name] === null) continue;
    const [low, high] = [a[`${name}_low`], a[`${name}_high`]];
    if (low !== null) svg("rect", { class: "band", x: left, width: width - left - right, y: y(high), height: Math.max(y(low) - y(high), 0.5) }, drawn);
    svg("line", { class: kind, ...ends, y1: y(a[name]), y2: y(a[name]) }, drawn);
  }
  const hollow = shown.filter((place) => data.status[organ][place] !== ".");
  drawDots(drawn, placed(shown, means.map(x), differences.map(y)), shown.length > 300 ? 2.2 : 3.2, null, organ, new Set(hollow));
  return drawn;
}

// The first few organs, or all of them on request, or those that were searched for.
function drawAgreements() {
  const figures = [...document.querySelectorAll("#agreement figure")];
  const most = agreements.all ? Infinity : FIRST_AGREEMENTS;
  document.getElementById("all-agreements").hidden = figures.length <= most || agreements.wanted !== "";
  figures.forEach((figure, organ) => {
    figure.hidden = agreements.wanted === "" ? organ >= most : !isNamed(figure.dataset.organ, agreements.wanted);
    if (figure.hidden || data.agreement[organ] === null) return;
    const drawing = figure.querySelector(".drawing");
    const width = Math.round(drawing.clientWidth) || 360;
    if (figure.dataset.width === String(width)) return;
    figure.dataset.width = width;
    drawing.replaceChildren(drawAgreement(organ, width));
  });
}

// ---- pointing ----

function describe(dot) {
  const [name, organ] = [data.cases[dot.place], data.organs[dot.organ]];
  if (dot.metric !== null) return [name, `${organ}: ${valueText(dot.metric, dot.organ, dot.place)}`];
  const [reference, prediction] = ["reference_ml", "prediction_ml"].map(metricIndex);
  const [r, p] = [reference, prediction].map((m) => data.values[m][dot.organ][dot.place]);
  const told = (v) => format(v, data.metrics[reference]);
  return [name, `${organ}: reference ${told(r)} ml, prediction ${told(p)} ml, difference ${told(p - r)} ml`];
}

function nearestDot(drawn, event) {
  const box = drawn.getBoundingClientRect();
  const scale = drawn.viewBox.baseVal.width / box.width;
  const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  let [found, nearest] = [null, REACH * scale];
  for (const dot of points.get(drawn) ?? []) {
    const distance = Math.hypot(dot.x - x, dot.y - y);
    if (distance < nearest) [found, nearest] = [dot, distance];
  }
  return found;
}

function pointAt(dot) {
  const tooltip = document.getElementById("tooltip");
  pointed?.circle.classList.remove("current");
  pointed = dot;
  tooltip.hidden = dot === null;
  if (dot === null) return;
  dot.circle.classList.add("current");
  const [name, text] = describe(dot);
  const strong = document.createElement("strong");
  strong.textContent = name;
  tooltip.replaceChildren(strong, text);
  const box = dot.circle.getBoundingClientRect();
  const left = box.left + box.width / 2 - tooltip.offsetWidth / 2;
  const above = box.top - tooltip.offsetHeight - 8;
  tooltip.style.left = `${Math.max(6, Math.min(left, innerWidth - tooltip.offsetWidth - 6))}px`;
  tooltip.style.top = `${above > 6 ? above : box.bottom + 8}px`;
}

// Left and right go from dot to dot, Enter opens the case.
function walkDots(event) {
  const dots = points.get(event.target);
  if (!dots?.length || !["ArrowLeft", "ArrowRight", "Home", "End", "Enter"].includes(event.key)) return;
  event.preventDefault();
  const at = dots.indexOf(pointed);
  if (event.key === "Enter") {
    if (at >= 0) openCase(data.cases[dots[at].place]);
    return;
  }
  const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: dots.length - 1 }[event.key];
  pointAt(dots[Math.min(Math.max(next, 0), dots.length - 1)]);
}

function listenToPlots() {
  for (const id of ["plot", "agreement"]) {
    const section = document.getElementById(id);
    const dotAt = (event) => {
      const drawn = event.target.closest("svg.strip, svg.agreement");
      return drawn && nearestDot(drawn, event);
    };
    section.addEventListener("pointermove", (event) => pointAt(dotAt(event)));
    section.addEventListener("pointerleave", () => pointAt(null));
    section.addEventListener("click", (event) => {
      const dot = dotAt(event);
      if (dot) openCase(data.cases[dot.place]);
    });
    section.addEventListener("keydown", walkDots);
    section.addEventListener("focusout", () => pointAt(null));
  }
  addEventListener("scroll", () => pointAt(pointed?.circle.isConnected ? pointed : null), { passive: true, capture: true });
  document.querySelector(".choices").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-metric]");
    if (button) chooseMetric(button.dataset.metric);
  });
  document.getElementById("all-agreements").addEventListener("click", () => {
    agreements.all = true;
    drawAgreements();
  });
}
