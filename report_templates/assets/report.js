// Draws the figures when they come near the screen, in the colours of the reader's theme.
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
