"""Style and script of the page of features: fixed texts, so that the page's policy can name them by their hashes."""

from __future__ import annotations

import base64
import hashlib

from saewidgets.render.html import Html

_LIGHT = (
    "--surface:#fff;--surface-2:#f6f7f9;--surface-3:#eceff3;--text:#1b1f24;--text-2:#545c66;--border:#d5dae1;"
    "--border-2:#868f9b;--accent:#1f5fae;--soft:#e6effa;--neg:#4a87d9;--pos:#d9730b;--act:#1b1f24;"
    "--a1:#fee8ca;--a2:#fcdab0;--a3:#facb97;--a4:#f8bc7e;--a5:#f6ad65;--a6:#f49d4a;--a7:#f18c2b;--a8:#ec7c01"
)
_DARK = (
    "--surface:#111;--surface-2:#1a1b1d;--surface-3:#25272a;--text:#e6e8eb;--text-2:#a8b0ba;--border:#33363b;"
    "--border-2:#6c747f;--accent:#7ab3f5;--soft:#16263a;--neg:#6186ce;--pos:#e08a2e;--act:#fff;"
    "--a1:#352410;--a2:#442c10;--a3:#543410;--a4:#653c0f;--a5:#76440e;--a6:#884c0c;--a7:#9a540b;--a8:#ae5c0c"
)
_STEPS = "".join(f".a{step}{{background:var(--a{step});color:var(--act)}}" for step in range(1, 9))

STYLE = Html(
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--surface);color:var(--text);
font:13px/20px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
font-variant-numeric:tabular-nums}
a{color:var(--accent)}
a:focus-visible,input:focus-visible,select:focus-visible{outline:2px solid var(--accent);outline-offset:1px}
body>header{padding:12px 16px;border-bottom:1px solid var(--border)}
h1,h2{font-size:15px;margin:0}
h3{font-size:12px;line-height:16px;margin:14px 0 4px;font-weight:600}h3 .small{font-weight:400}
p{margin:2px 0}.facts,.small{color:var(--text-2);font-size:12px;line-height:16px}
.split{display:grid;grid-template-columns:300px minmax(0,1fr);align-items:start}
nav{position:sticky;top:0;max-height:100vh;overflow:auto;border-right:1px solid var(--border)}
nav .find{padding:8px;border-bottom:1px solid var(--border)}
nav input,nav select{width:100%;height:28px;margin:2px 0;background:var(--surface);color:var(--text);
border:1px solid var(--border-2);border-radius:4px;padding:0 8px;font:inherit;font-size:12px}
nav ol{list-style:none;margin:0;padding:0}
nav a{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:0 8px;padding:4px 12px;
text-decoration:none;color:var(--text);border-bottom:1px solid var(--border);font-size:12px;line-height:16px}
nav a:hover{background:var(--surface-3)}nav a.here{background:var(--soft)}
nav .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}nav .small{text-align:right}
main{min-width:0}
section{padding:12px 16px;display:none;scroll-margin-top:100px}
section:target{display:block}
main:not(:has(:target)) section:first-of-type{display:block}
.head{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:baseline}.head .label{overflow-wrap:anywhere;font-size:15px}
.step{margin-left:auto;white-space:nowrap}
.tiles{display:flex;flex-wrap:wrap;gap:8px 24px;margin:8px 0}.tiles b{display:block;font-size:15px}
.charts{display:flex;flex-wrap:wrap;gap:8px 24px;align-items:flex-start}
figure{margin:0 0 4px}
.pair{display:flex;gap:8px 24px;align-items:flex-start}figcaption{font-size:12px;line-height:16px;color:var(--text-2)}
svg{display:block}.bars{fill:var(--a6)}.bars.up{fill:var(--pos)}.bars.down{fill:var(--neg)}.axis{stroke:var(--border-2)}
.mark{stroke:var(--text);visibility:hidden}.mark.on{visibility:visible}
svg text{fill:var(--text-2);font-size:11px}
table{border-collapse:collapse;font-size:12px;line-height:16px}caption{text-align:left;color:var(--text-2)}
td{padding:1px 8px 1px 0;vertical-align:top}td.n{text-align:right}
code,.row{font:12px/20px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;background:var(--surface-2);border-radius:2px}
.row{display:grid;grid-template-columns:8ch minmax(0,2fr) minmax(0,3fr);
border-bottom:1px solid var(--border);unicode-bidi:isolate}
.row>b{font-weight:400;color:var(--text-2);text-align:right;padding-right:8px}
.row>span{white-space:pre;overflow:hidden;unicode-bidi:isolate}
.row>span:nth-child(2){display:flex;justify-content:flex-end}
.row i{font-style:normal;border-radius:2px;unicode-bidi:isolate}.row i.peak{font-weight:600}
.legend i{display:inline-block;width:20px;height:10px}
"""
    + _STEPS
    + """
@media (max-width:760px){.split{display:block}
nav{position:static;max-height:240px;border-right:0;border-bottom:1px solid var(--border)}
.row{display:block;padding-left:8ch;text-indent:-8ch}.row>b{display:inline-block;width:8ch;text-indent:0}
.row>span,.row>span:nth-child(2){display:inline;white-space:pre-wrap;overflow-wrap:anywhere}}
@media print{nav,.step{display:none}.split{display:block}section{display:block!important;break-inside:avoid}}
@media (forced-colors:active){.row i{border:1px solid CanvasText}}
"""
)

SCRIPT = Html(
    """
"use strict";
(function () {
  var list = document.querySelector("nav ol"), rows = Array.prototype.slice.call(list.children);
  var find = document.querySelector("nav .find"), none = find.querySelector("p");
  var text = find.querySelector("input"), order = find.querySelector("select");
  find.hidden = false;
  function number(row, key) { return Number(row.getAttribute("data-" + key)); }
  function apply() {
    var wanted = text.value.trim().toLowerCase().split(/\\s+/).filter(Boolean), shown = 0;
    rows.forEach(function (row) {
      var own = row.textContent.toLowerCase();
      row.hidden = !wanted.every(function (word) { return own.indexOf(word) >= 0; });
      shown += row.hidden ? 0 : 1;
    });
    none.textContent = shown === rows.length ? "" : shown + " of " + rows.length;
  }
  text.addEventListener("input", apply);
  order.addEventListener("change", function () {
    var key = order.value, sign = key === "index" ? 1 : -1;
    rows.sort(function (a, b) {
      return sign * (number(a, key) - number(b, key)) || number(a, "index") - number(b, "index");
    });
    rows.forEach(function (row) { list.appendChild(row); });
  });
  function here() {
    var hash = location.hash || (rows.length ? rows[0].firstChild.getAttribute("href") : "");
    rows.forEach(function (row) {
      var own = row.firstChild.getAttribute("href") === hash;
      row.firstChild.classList.toggle("here", own);
      row.firstChild.setAttribute("aria-current", String(own));
    });
  }
  window.addEventListener("hashchange", here);
  here();
  document.addEventListener("keydown", function (event) {
    if (/^(INPUT|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (event.key === "/") { text.focus(); event.preventDefault(); return; }
    var step = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    var card = document.querySelector("section:target") || document.querySelector("section");
    var link = step && card && card.querySelector('a[rel="' + step + '"]');
    if (link) { location.hash = link.getAttribute("href"); event.preventDefault(); }
  });
  document.addEventListener("mouseover", function (event) {
    var value = Number(event.target.title), card = event.target.closest("section");
    var mark = card && card.querySelector(".mark");
    if (!mark) { return; }
    var on = event.target.tagName === "I" && value > 0;
    mark.classList.toggle("on", on);
    if (on) {
      var x = 1 + Number(mark.getAttribute("data-width")) * Math.min(1, value / Number(mark.getAttribute("data-high")));
      mark.setAttribute("x1", x);
      mark.setAttribute("x2", x);
    }
  });
})();
"""
)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY = (
    f"default-src 'none'; style-src 'sha256-{_digest(STYLE)}'; script-src 'sha256-{_digest(SCRIPT)}'; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing is loaded, and no other style or script than these two is used."""
