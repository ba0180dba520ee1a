// Gives the browser the fonts before it sets the first line, so that no text is set in another font first and then moves:
// a font that a style sheet names, even one inside it, arrives after the first picture of the page.
"use strict";

for (const [family, content] of Object.entries({
{% for family, content in fonts %}
  "{{ family }}": "{{ content }}",
{% endfor %}
}))
  document.fonts.add(
    new FontFace(family, Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)), { weight: "200 900" }),
  );
