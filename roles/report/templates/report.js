(function () {
  'use strict';
  var q = document.getElementById('q'), shown = document.getElementById('shown');
  var hosts = [].slice.call(document.querySelectorAll('details.host'));
  var rows = {};
  document.querySelectorAll('.row').forEach(function (row) { rows[row.dataset.of] = row; });
  var rest = document.getElementById('rest');
  var chips = [].slice.call(document.querySelectorAll('.chips button'));
  function apply() {
    var words = q.value.toLowerCase().split(/\s+/).filter(Boolean);
    var levels = chips.filter(function (c) { return c.getAttribute('aria-pressed') === 'true'; })
      .map(function (c) { return c.dataset.level; });
    var left = 0;
    hosts.forEach(function (host) {
      var fits = (!levels.length || levels.indexOf(host.dataset.level) >= 0) &&
        words.every(function (word) { return host.dataset.s.indexOf(word) >= 0; });
      host.hidden = !fits;
      if (rows[host.id]) { rows[host.id].hidden = !fits; }
      left += fits;
      // What was asked for must not be hidden in the folded part.
      if (fits && rest && (words.length || levels.length) && rest.contains(host)) { rest.open = true; }
    });
    if (rest) { rest.hidden = !rest.querySelector('details.host:not([hidden])'); }
    shown.textContent = left === hosts.length ? '' : left + ' of ' + hosts.length;
  }
  function target() {
    var at = document.getElementById(location.hash.slice(1));
    if (!at) { return; }
    if (at.hidden) { q.value = ''; chips.forEach(function (c) { c.setAttribute('aria-pressed', 'false'); }); apply(); }
    for (var up = at; up; up = up.parentElement) { if (up.tagName === 'DETAILS') { up.open = true; } }
    at.scrollIntoView();
  }
  if (q) {
    q.addEventListener('input', apply);
    chips.forEach(function (chip) {
      chip.addEventListener('click', function () {
        chip.setAttribute('aria-pressed', chip.getAttribute('aria-pressed') === 'true' ? 'false' : 'true');
        apply();
      });
    });
    apply();
  }
  addEventListener('hashchange', target);
  target();
})();
