"use strict";
(function () {
  var list = document.querySelector("nav ol"), rows = Array.prototype.slice.call(list.children);
  var find = document.querySelector("nav .find"), none = find.querySelector("p");
  var text = find.querySelector("input"), order = find.querySelector("select");
  find.hidden = false;
  function number(row, key) { return Number(row.getAttribute("data-" + key)); }
  function apply() {
    var wanted = text.value.trim().toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
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
