// Keeps the page fresh: the server renders it, this replaces the parts that have changed. Everything works without it.
// A part is an element with an id and `data-live`. Nothing is made from strings, so nothing that a database holds
// can become markup here that it was not there.

const STREAM = "/api/v1/events";
const SILENCE_MS = 35_000;   // two heartbeats and a little: whoever is silent for longer is gone
const POLL_MS = 5_000;       // while there is no stream
const ANSWER_MS = 10_000;    // an answer takes milliseconds
const FAILURES = 2;          // one failure may be a restart

const root = document.documentElement;
const find = (id) => document.getElementById(id);

/** What the server sent for each part, as the parts themselves are changed by `tick`. */
const sent = new Map();
let title = document.title;
let icon = find("favicon").href;
let heard = Date.now();
let failures = 0;

// Times -------------------------------------------------------------------------------------------------------------

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function localise(scope) {
  for (const time of scope.querySelectorAll("time[datetime]")) say(time, local.format(new Date(time.dateTime)));
  for (const one of scope.querySelectorAll("#strip [title]")) {
    const [utc] = /\d{4}-\d\d-\d\d \d\d:\d\d UTC/.exec(one.title) ?? [];
    if (!utc) continue;
    const said = one.title.replace(utc, local.format(new Date(utc.replace(" ", "T").replace(" UTC", "Z"))));
    one.setAttribute("aria-label", said);
    one.title = `${said} (${utc})`;
  }
}

function tick() {
  const now = Date.now();
  if (now - heard > SILENCE_MS) lose();
  if ("gone" in root.dataset) return;
  for (const one of document.querySelectorAll("[data-since]")) say(one, `${span(now - new Date(one.dataset.since))} ago`);
  for (const one of document.querySelectorAll("[data-elapsed]")) say(one, span(now - new Date(one.dataset.elapsed)));
  for (const one of document.querySelectorAll("[data-until]")) {
    const left = new Date(one.dataset.until) - now;
    say(one, left > 0 ? `in ${span(left)}` : "due now");
  }
}

// Fresh parts -------------------------------------------------------------------------------------------------------

/** A way back to the focused element after its part was replaced. */
function focused(part) {
  const at = document.activeElement;
  if (!part.contains(at)) return null;
  if (at.id) return () => find(at.id);
  // a link by what it leads to, as those before it may have become more
  const href = at.getAttribute("href");
  const kind = href === null ? at.tagName : `a[href="${CSS.escape(href)}"]`;
  const index = [...part.querySelectorAll(kind)].indexOf(at);
  return (fresh) => fresh.querySelectorAll(kind)[index];
}

/** Gives an element the focus that its part had; in the strip it becomes the one that the tab key reaches. */
function give(element) {
  if (!element) return;
  if (element.closest("#strip")) for (const one of find("strip").querySelectorAll("a")) one.tabIndex = one === element ? 0 : -1;
  element.focus({ preventScroll: true });
}

function show(fresh) {
  for (const next of fresh.querySelectorAll("[data-live]")) {
    const part = find(next.id);
    const text = next.outerHTML;
    if (!part || sent.get(next.id) === text) continue;
    sent.set(next.id, text);
    if (part.querySelector("input[type=checkbox]:checked")) continue; // somebody is deciding
    const back = focused(part);
    const adopted = document.adoptNode(next);
    localise(adopted);
    part.replaceWith(adopted);
    give(back?.(adopted));
  }
  const time = fresh.querySelector("#fresh time");
  if (time) { find("fresh").querySelector("time").replaceWith(document.adoptNode(time)); localise(find("fresh")); }
  const word = find("word")?.textContent;
  if (fresh.title !== title && word) say(find("announce"), find("busy")?.textContent ?? `${word}. ${find("summary").textContent}`);
  title = document.title = fresh.title;
  icon = fresh.getElementById("favicon").href;
  find("favicon").href = icon;
  enhance();
}

let asking = false;
let again = false;

/** Asks for the whole page, once at a time. */
async function refresh() {
  if (asking) { again = true; return; }
  asking = true;
  try {
    do {
      again = false;
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
      if (answer.redirected) { location.reload(); return; }   // the cookie has ended
      const text = await answer.text();
      hear();
      if (answer.ok) show(new DOMParser().parseFromString(text, "text/html"));
      else say(find("freshness"), "and could not be looked at again");
    } while (again);
  } catch {
    failures += 1;
    if (failures >= FAILURES) lose();
  } finally {
    asking = false;
  }
}

// Whether the server is there ---------------------------------------------------------------------------------------

let before = null;

function hear() {
  heard = Date.now();
  failures = 0;
  if (!("gone" in root.dataset)) return;
  delete root.dataset.gone;
  // What stood here has been refreshed, or is about to be.
  if (before) { before.shape.setAttribute("href", before.href); say(find("word"), before.word); say(find("summary"), before.summary); sent.delete("banner"); }
  before = null;
  document.title = title;
  find("favicon").href = icon;
  for (const button of document.querySelectorAll("button[data-off]")) { button.disabled = false; delete button.dataset.off; }
  refresh();
}

function lose() {
  if ("gone" in root.dataset) return;
  root.dataset.gone = "";
  const text = `meter-sync has not answered since ${local.format(new Date(heard))}. What this page shows is from then.`;
  if (find("word")) {
    const shape = find("banner").querySelector("use");
    before = { word: find("word").textContent, summary: find("summary").textContent, shape, href: shape.getAttribute("href") };
    shape.setAttribute("href", "#gap");
    say(find("word"), "No connection");
    say(find("summary"), text);
  }
  document.title = `No connection – ${title}`;
  find("favicon").href = "/assets/gap-gone.svg";
  say(find("freshness"), "no longer kept up to date");
  say(find("announce"), text);
  for (const button of document.querySelectorAll("main button:enabled")) { button.disabled = true; button.dataset.off = ""; }
}

// The stream --------------------------------------------------------------------------------------------------------

const number = new Intl.NumberFormat();
let stream = null;

function progress(event) {
  hear();
  const now = JSON.parse(event.data);
  const running = document.querySelector(`[data-run="${CSS.escape(now.run_id)}"]`);
  if (!running) { refresh(); return; }
  for (const phase of running.querySelectorAll("[data-phase]")) {
    if (phase.dataset.phase === now.phase) phase.setAttribute("aria-current", "step");
    else phase.removeAttribute("aria-current");
  }
  const rows = running.querySelector("#rows");
  if (rows) say(rows, `${number.format(now.rows)} rows read so far`);
}

function listen() {
  stream = new EventSource(STREAM);
  stream.addEventListener("open", () => { hear(); say(find("freshness"), "kept up to date"); });
  stream.addEventListener("status", () => { hear(); say(find("freshness"), "kept up to date"); refresh(); });
  stream.addEventListener("progress", progress);
  stream.addEventListener("heartbeat", hear);
  stream.addEventListener("error", () => { if (!("gone" in root.dataset)) say(find("freshness"), "asked for every 5 s"); });
}

function poll() {
  if (stream?.readyState === EventSource.OPEN && Date.now() - heard < SILENCE_MS) return;
  if (stream?.readyState === EventSource.CLOSED) { stream = null; listen(); }
  refresh();
}

// What the keyboard and the buttons do more -------------------------------------------------------------------------

function strip(event) {
  const bars = [...event.currentTarget.querySelectorAll("a")];
  const at = bars.indexOf(document.activeElement);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: bars.length - 1 }[event.key];
  if (at < 0 || to === undefined || !bars[to]) return;
  event.preventDefault();
  give(bars[to]);
  bars[to].scrollIntoView({ block: "nearest", inline: "nearest" });
}

async function copy(event) {
  const button = event.currentTarget;
  const answer = await fetch(button.dataset.copy);
  await navigator.clipboard.writeText(JSON.stringify(await answer.json(), null, 2));
  say(button, "Copied");
}

function enhance() {
  const bars = find("strip");
  if (bars && !bars.onkeydown) {
    bars.onkeydown = strip;
    bars.scrollLeft = bars.scrollWidth;
  }
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.onclick = copy;
  }
}

/** A second click would only be told that a run is in progress. */
function sending(event) {
  const form = event.target;
  setTimeout(() => { for (const button of form.querySelectorAll("button")) button.disabled = true; });
}

for (const part of document.querySelectorAll("[data-live]")) sent.set(part.id, part.outerHTML);
localise(document);
enhance();
document.addEventListener("submit", sending);
if (find("banner") || find("run-head")) {
  listen();
  setInterval(tick, 1000);
  setInterval(poll, POLL_MS);
  tick();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
} else {
  document.getElementById("fresh")?.remove();
}
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
