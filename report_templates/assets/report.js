// Draws every figure once, when it comes near the screen, in the colours of the reader's theme, and all of them before
// printing; moves thresholds and shows cells on request.
"use strict";

// A new element at the end of another one.
const make = (tag, parent, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));

const plots = [...document.querySelectorAll(".plot")];
// These buttons and no others: some of Plotly's would send a figure to a server.
const modeBarButtons = [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]];
const config = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtons };

let bundle;
const plotly = () =>
  (bundle ??= new Promise((onload) => make("script", document.head, { src: "vendor/plotly-basic.min.js", onload })));

// Colours stand in a specification as custom properties: var(--ink).
const coloured = (value, style) => {
  if (typeof value === "string") return value.replace(/^var\((--[\w-]+)\)$/, (_, name) => style.getPropertyValue(name).trim());
  if (Array.isArray(value)) return value.map((item) => coloured(item, style));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
  return value;
};

const draw = (plot) => {
  const spec = JSON.parse(document.getElementById(plot.dataset.spec).textContent);
  const { data, layout } = coloured(spec, getComputedStyle(document.documentElement));
  for (const trace of data) Object.assign(trace, marks[trace.meta]);
  const first = !plot.dataset.state;
  plot.dataset.state = "drawn"; // before it is: on paper a figure that is not drawn has no width
  Plotly.react(plot, data, { ...layout, autosize: true }, config);
  if (first) plot.on("plotly_click", ({ points: [dot] }) => dot.customdata?.length > 1 && showDot(plot, dot));
  plot.dispatchEvent(new Event("drawn"));
};

// The cell of a dot, among those of its patient.
const showDot = (plot, clicked) => {
  const axis = plot.layout.yaxis.ticktext;
  const row = Math.round(clicked.y);
  const dots = plot.data
    .flatMap((trace) => trace.x.map((x, i) => ({ x, y: trace.y[i], text: trace.text[i], cell: trace.customdata[i] })))
    .filter((dot) => Math.round(dot.y) === row)
    .sort((a, b) => a.x - b.x);
  const items = dots.map(({ x, text, cell: [, image, ...pictures] }) => ({
    pictures: pictures.map((src, n) => ({ src, alt: n ? "Activation map" : "Cell" })),
    words: [text, `${plot.layout.xaxis.title.text.replace(", %", "")}: ${x.toFixed(1)}\u202f%`, axis[row]].map(plain).concat(image),
  }));
  view(items, dots.findIndex(({ x, y }) => x === clicked.x && y === clicked.y));
};

// Plotly's labels are escaped: as text again.
const plain = (label) => new DOMParser().parseFromString(label, "text/html").body.textContent;

// Patients: with a moved threshold a dot is filled where the threshold is right.
for (const slider of document.querySelectorAll("[data-strip]")) {
  const plot = document.querySelector(`#${CSS.escape(slider.dataset.strip)} .plot`);
  const split = () => {
    const at = slider.valueAsNumber;
    if (!plot.data || !slider.dataset.moved) return;
    const keys = ["x", "y", "text", "customdata"];
    const dots = plot.data.flatMap((trace) => trace.x.map((_, i) => keys.map((key) => trace[key][i])));
    const parts = [true, false].map((right) => dots.filter(([x, , , [positive]]) => (x >= at) === !!positive === right));
    const moved = keys.map((key, k) => [key, parts.map((part) => part.map((dot) => dot[k]))]);
    Plotly.update(plot, Object.fromEntries(moved), { "shapes[0].x0": at, "shapes[0].x1": at });
  };
  plot.addEventListener("drawn", split);
  slider.addEventListener("input", () => {
    slider.dataset.moved = true;
    slider.parentElement.querySelector("output").value = slider.value;
    split();
  });
}

// Moves a mark of the curves: `marks` holds where explorers moved theirs, for figures that are drawn later too.
const marks = {};
const move = (meta, x, y) => {
  marks[meta] = { x: [x], y: [y] };
  for (const plot of plots)
    plot.data?.forEach((trace, n) => trace.meta === meta && Plotly.restyle(plot, { x: [[x]], y: [[y]] }, n));
};

// Each figure is a task of its own, when the browser has time: a page that loads stays quick to scroll and press.
const soon = window.requestIdleCallback ?? ((task) => setTimeout(task, 50));

const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries)
      if (isIntersecting) {
        observer.unobserve(target);
        plotly().then(() => soon(() => draw(target)));
      }
  },
  { threshold: 0.1 }, // a first screen that shows no more than an edge of a figure does not wait for the bundle
);
for (const plot of plots) observer.observe(plot);

// Print waits for nothing. From the disk the bundle is there before the page counts as loaded; from a server, where whoever
// reads the first screen alone shall not wait for it, as soon as a pointer moves, a key is pressed or a figure comes near.
if (plots.length && location.protocol === "file:") plotly();
else if (plots.length) for (const sign of ["pointermove", "keydown"]) addEventListener(sign, plotly, { once: true });

const redraw = (all) => window.Plotly && plots.filter((plot) => all || plot.dataset.state).forEach(draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(false));
addEventListener("beforeprint", () => redraw(true));
matchMedia("print").addEventListener("change", (print) => redraw(print.matches)); // in the colours and width of paper

// On a phone the navigation is one line that scrolls: the current page is in sight.
const here = document.querySelector("nav [aria-current]");
if (here) here.closest("ul").scrollLeft = here.offsetLeft - 40;

// A cell in a larger view, with its neighbours by the arrow keys. An item has `pictures` (src, alt) and `words`.
let items, at, before;
const dialog = make("dialog", document.body, { className: "viewer", ariaLabel: "A cell in a larger view" });
const [figure, words] = [make("div", dialog, { className: "pictures" }), make("div", dialog, {})];
const choices = make("p", dialog, { className: "choices" });
const show = (to) => {
  at = (to + items.length) % items.length;
  figure.replaceChildren();
  words.replaceChildren();
  for (const picture of items[at].pictures) make("img", figure, picture);
  for (const word of items[at].words) make("p", words, { textContent: word, dir: "auto" });
  make("p", words, { className: "note", textContent: `${at + 1} of ${items.length}` });
};
for (const [name, act] of [["Previous", () => show(at - 1)], ["Next", () => show(at + 1)], ["Close", () => dialog.close()]])
  make("button", choices, { type: "button", textContent: name, onclick: act });
dialog.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft" || key === "ArrowRight") show(at + (key === "ArrowLeft" ? -1 : 1));
});
dialog.addEventListener("close", () => before?.focus());
const view = (all, position) => {
  [items, before] = [all, document.activeElement];
  show(position);
  dialog.showModal();
};

for (const gallery of document.querySelectorAll(".gallery"))
  gallery.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    // Those of its method, if the filters leave them.
    const buttons = [...gallery.closest("section").querySelectorAll(".gallery button")].filter((one) => one.checkVisibility());
    const item = (one) => ({
      pictures: [...one.querySelectorAll("img")].map(({ src, alt }) => ({ src, alt })),
      words: [one.querySelector("img").alt, one.parentElement.dataset.votes, one.parentElement.dataset.file],
    });
    view(buttons.map(item), buttons.indexOf(button));
  });

// Filters: a group without a cell that is left is hidden with its heading.
for (const filters of document.querySelectorAll(".filters"))
  filters.addEventListener("change", () => {
    const wanted = [...filters.querySelectorAll("select")].filter((select) => select.value);
    for (const group of filters.parentElement.querySelectorAll(".group")) {
      for (const cell of group.querySelectorAll("li"))
        cell.hidden = wanted.some((select) => cell.dataset[select.dataset.filter] !== select.value);
      group.hidden = !group.querySelector("li:not([hidden])");
    }
    filters.parentElement.querySelector(".nothing").hidden = !!filters.parentElement.querySelector("li:not([hidden])");
  });

// The threshold explorer: counts the test cells on either side of a threshold, as the table below it did on the way here.
for (const explorer of document.querySelectorAll(".explorer")) {
  const scores = JSON.parse(document.getElementById(explorer.dataset.scores).textContent);
  const slider = explorer.querySelector("input");
  const share = (part, rest) => (part + rest ? `${((100 * part) / (part + rest)).toFixed(1)}\u202f%` : "undefined");
  const show = (threshold) => {
    const [TP, FP] = [scores.positive, scores.negative].map((all) => all.filter((score) => score >= threshold).length);
    const [FN, TN] = [scores.positive.length - TP, scores.negative.length - FP];
    const values = {
      threshold: threshold.toFixed(3), TP, FN, FP, TN,
      sensitivity: share(TP, FN), specificity: share(TN, FP), ppv: share(TP, FP), npv: share(TN, FN),
    };
    const [found, alarms, correct] = [[TP, FN], [FP, TN], [TP, FP]].map(([a, b]) => (a + b ? (100 * a) / (a + b) : null));
    for (const [curve, x, y] of [["auroc", alarms, found], ["auprc", found, correct]])
      move(`${curve}-${explorer.dataset.mark}`, x, y);
    for (const place of explorer.querySelectorAll("[data-show]")) place.textContent = values[place.dataset.show];
  };
  show(Number(slider.value));
  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const button of explorer.querySelectorAll("[data-threshold]"))
    button.addEventListener("click", () => {
      slider.value = button.dataset.threshold;
      show(Number(button.dataset.threshold)); // the exact one: the slider goes in steps
    });
}

// Experiments, commit and machine are not in the cached report: `python -m job site` adds their page, and added.js with
// it. Whoever follows a link to one is taken there; where they were not added, the section says how they come about.
const follow = () => {
  const page = document.getElementById(location.hash.slice(1))?.dataset.added;
  if (page) make("script", document.head, { src: "added.js", onload: () => location.replace(page) });
};
addEventListener("hashchange", follow);
follow();
