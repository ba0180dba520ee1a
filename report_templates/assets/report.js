// Draws the figures when they come near the screen, in the colours of the reader's theme; sorts tables on request.
"use strict";

(() => {
  const plots = [...document.querySelectorAll(".plot")];
  const config = { displayModeBar: false, responsive: true };
  let bundle;

  const plotly = () => {
    bundle ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = "vendor/plotly-basic.min.js";
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    });
    return bundle;
  };

  // Colours stand in a specification as names of custom properties.
  const coloured = (value, style) => {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() || value : value;
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    return value;
  };

  const draw = async (plot) => {
    plot.dataset.state = "drawing";
    const library = await plotly();
    const spec = JSON.parse(document.getElementById(plot.dataset.spec).textContent);
    const { data, layout } = coloured(spec, getComputedStyle(document.documentElement));
    await library.react(plot, data, { ...layout, autosize: true }, config);
    plot.dataset.state = "drawn";
  };

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries)
        if (isIntersecting) {
          observer.unobserve(target);
          draw(target);
        }
    },
    { rootMargin: "600px" },
  );
  for (const plot of plots) observer.observe(plot);

  const redraw = () => plots.filter((plot) => plot.dataset.state).forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();

// A table that says so is sorted by the column whose heading is pressed: up, then down. Missing values stay last.
(() => {
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  const sort = (table, heading, column) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const missing = (row) => key(row, column) === "\u2013";
    const numeric = heading.classList.contains("number");
    const compare = (a, b) =>
      numeric ? key(a, column) - key(b, column) : key(a, column).localeCompare(key(b, column), "en", { numeric: true });
    const body = table.tBodies[0];
    body.append(
      ...[...body.rows].sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : compare(a, b) * (down ? -1 : 1))),
    );
  };

  for (const table of document.querySelectorAll("table[data-sortable]"))
    [...table.tHead.rows].at(-1).querySelectorAll("th").forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, heading, column));
      heading.append(button);
    });
})();
