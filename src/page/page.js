// Keeps the page up to date: fetches the page again from the server, and replaces the parts that have changed. The page
// also works without this script. A part is an element with an id and `data-live`. No HTML is built from strings here,
// so text from a database cannot become markup.
//
// The page counts as fresh only after a whole page was received and shown. A heartbeat of the server, or an answer of a
// proxy in its place, is not enough. Durations are measured with a clock that nobody can set; times of day are those of
// the server.

const STREAM = document.body.dataset.events;
const QUIET_MS = 20_000;     // a bit more than a heartbeat: after this silence, the page is fetched
const SILENCE_MS = 35_000;   // after this silence, one failed fetch means that the server is gone
const POLL_MS = 5_000;       // the interval of fetches while there is no stream
const HIDDEN_MS = 60_000;    // the interval while the page is hidden: it closes its stream, as browsers allow few
const ANSWER_MS = 12_000;    // the timeout of a fetch: an answer takes milliseconds, or waits for a database
const FAILURES = 2;          // so many failed fetches mean that the server is gone; one may be a restart
const LIST_MS = 1_000;        // the shortest time between two fetches of the list of tenants
const TWICE_MS = 3_000;      // a second click within this time is ignored; also how long "Copied" is shown

const root = document.documentElement;
const find = (id) => document.getElementById(id);
const clock = () => performance.now();

/** What the server sent for each part. The parts on the page differ from it, because `tick` changes them. */
const sent = new Map();
let title = document.title;
let shown = { at: clock(), time: stamp(document) };   // when the last page was shown: by our clock, by the server's
let heard = clock();                                  // when the server last sent anything
let due = null;                                       // since when the page may be outdated; null if it is not
let failures = 0;

// Times -------------------------------------------------------------------------------------------------------------

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const toTheMinute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
/** Formats a time in the reader's time zone: to the minute if it was given so, else to the second. */
const localTime = given => (/T\d\d:\d\dZ$/.test(given) ? toTheMinute : exact).format(new Date(given));

function stamp(page) {
  return new Date(page.querySelector("#fresh time")?.dateTime ?? NaN).getTime();
}

/** Returns the server's time now. */
const now = () => shown.time + clock() - shown.at;

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

function say(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function localise(scope) {
  for (const time of scope.querySelectorAll("time[datetime]")) say(time, localTime(time.dateTime));
  for (const one of scope.querySelectorAll("#strip [title]")) {
    const [utc] = /\d{4}-\d\d-\d\d \d\d:\d\d UTC/.exec(one.title) ?? [];
    if (!utc) continue;
    const said = one.title.replace(utc, localTime(utc.replace(" ", "T").replace(" UTC", "Z")));
    one.setAttribute("aria-label", said);
    one.title = `${said} (${utc})`;
  }
}

const COUNTED = "[data-since], [data-until], [data-elapsed]";

function tick() {
  if ("gone" in root.dataset) return;
  for (const one of document.querySelectorAll("[data-since]")) say(one, `${span(now() - new Date(one.dataset.since))} ago`);
  for (const one of document.querySelectorAll("[data-elapsed]")) say(one, span(now() - new Date(one.dataset.elapsed)));
  for (const one of document.querySelectorAll("[data-until]")) {
    const left = new Date(one.dataset.until) - now();
    say(one, left > 0 ? `in ${span(left)}` : "due now");
  }
}

// Fresh parts -------------------------------------------------------------------------------------------------------

/** Returns the HTML of a part without its running times, for a comparison with other versions of the part. */
function mark(part) {
  const copy = part.cloneNode(true);
  for (const one of copy.querySelectorAll(COUNTED)) one.textContent = "";
  return copy.outerHTML;
}

/** Returns a function that finds the focused element again after its part was replaced; null if none had the focus. */
function focused(part) {
  const at = document.activeElement;
  if (!part.contains(at)) return null;
  const inStrip = at.closest("#strip");
  const first = (fresh) => inStrip && fresh.querySelector("#strip a");
  if (at.id) return (fresh) => find(at.id) ?? first(fresh);
  // A link is found by its target, because links may have been added before it.
  const href = at.getAttribute("href");
  const kind = href === null ? at.tagName : `a[href="${CSS.escape(href)}"]`;
  const index = [...part.querySelectorAll(kind)].indexOf(at);
  return (fresh) => fresh.querySelectorAll(kind)[index] ?? first(fresh);
}

let lent = null;   // the id of the disabled button that gets the focus back when it is enabled

/** Focuses an element. A bar of the strip also becomes the one that the tab key reaches. */
function give(element) {
  if (!element) return;
  if (element.disabled) {
    lent = element.id;
    find("main").focus({ preventScroll: true });
    return;
  }
  const strip = element.closest("#strip");
  if (strip) for (const one of strip.querySelectorAll("[tabindex]")) one.tabIndex = one === element ? 0 : -1;
  element.focus({ preventScroll: true });
  if (strip) element.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Returns a function that restores the scroll position of the strip. At its end, it stays at the end. */
function scrolled(part) {
  const strip = part.querySelector("#strip");
  if (!strip) return () => {};
  const { scrollLeft, scrollWidth, clientWidth } = strip;
  const isAtEnd = scrollLeft + clientWidth >= scrollWidth - 2;
  return () => { const fresh = find("strip"); if (fresh) fresh.scrollLeft = isAtEnd ? fresh.scrollWidth : scrollLeft; };
}

let pressed = null;

/** Whether somebody is using a part: has selected text in it, or is pressing a button or a link of it. */
function isInHand(part) {
  const selection = getSelection();
  return (!selection.isCollapsed && selection.containsNode(part, true)) || (pressed !== null && part.contains(pressed));
}

/** Replaces the parts that have changed. Returns false if a part was left because somebody is using it. */
function replace(fresh) {
  let all = true;
  for (const next of fresh.querySelectorAll("[data-live]")) {
    const part = find(next.id);
    const text = mark(next);
    if (!part || sent.get(next.id) === text) continue;
    if (part.querySelector("input[type=checkbox]:checked")) {
      // Somebody is deciding on a plan that has changed.
      part.querySelector("[data-changed]").hidden = false;
      part.querySelector("button.danger").disabled = true;
      continue;
    }
    if (isInHand(part)) { all = false; continue; }
    sent.set(next.id, text);
    const back = focused(part);
    const scroll = scrolled(part);
    const adopted = document.adoptNode(next);
    localise(adopted);
    part.replaceWith(adopted);
    scroll();
    give(back?.(adopted));
  }
  const again = lent && find(lent);
  if (again && !again.disabled) {
    if (document.activeElement === find("main")) again.focus({ preventScroll: true });
    lent = null;
  }
  return all;
}

/** Returns the state in a few words, for screen readers. */
function state() {
  const word = find("word")?.textContent ?? document.querySelector("#run-head h1")?.textContent.trim();
  const more = find("busy") ?? find("summary") ?? document.querySelector("#run-head p");
  return [word, more?.textContent].filter(Boolean).join(". ");
}

function show(fresh) {
  const script = (page) => page.querySelector("script[type=module]")?.getAttribute("src");
  if (script(fresh) !== script(document)) { location.reload(); return; }   // the server has another version now
  const wasGone = "gone" in root.dataset;
  if (wasGone) sent.clear();   // replaces what `lose` changed
  delete root.dataset.gone;
  shown = { at: clock(), time: stamp(fresh) };
  heard = clock();
  failures = 0;
  due = replace(fresh) ? null : due ?? clock();
  find("fresh").querySelector("time").replaceWith(document.adoptNode(fresh.querySelector("#fresh time")));
  localise(find("fresh"));
  const isNews = fresh.title !== title;
  title = document.title = fresh.title;
  find("favicon").href = fresh.getElementById("favicon").href;
  if (wasGone) say(find("announce"), `meter-sync answers again. ${state()}`);
  else if (isNews) say(find("announce"), state());
  tell();
  enhance();
  tick();
}

let asking = false;
let again = false;
let answered = false;   // whether the last answer was a page of this server

/** Returns a signal that aborts a request after ANSWER_MS. */
function patience() {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), ANSWER_MS);
  return abort.signal;
}

/** Fetches the whole page and shows it. One fetch runs at a time. */
async function refresh() {
  due ??= clock();
  if (asking) { again = true; return; }
  asking = true;
  try {
    do {
      again = false;
      answered = false;
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store", signal: patience() });
      if (answer.redirected && new URL(answer.url).pathname === "/sign-in") { location.reload(); return; }   // the cookie has expired
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      // A proxy or another server may have answered instead.
      answered = !Number.isNaN(stamp(fresh)) && fresh.getElementById("favicon") !== null;
      if (!answered || !answer.ok) throw new Error("not the page");
      show(fresh);
    } while (again);
  } catch {
    failures += 1;
    judge();
    tell();
  } finally {
    asking = false;
  }
}

// Whether the server answers ---------------------------------------------------------------------------------------

function judge() {
  const isSilent = clock() - Math.min(heard, due ?? heard) > SILENCE_MS;
  if (failures >= FAILURES || (failures > 0 && isSilent)) lose();
}

/** Says at the foot of the page how fresh it is. */
function tell() {
  const fresh = find("freshness");
  if ("gone" in root.dataset) say(fresh, "no longer kept up to date");
  else if (failures) say(fresh, "and could not be looked at again; it is being tried");
  else if (!isLive) say(fresh, "as it was when this page was loaded");
  else if (stream?.readyState === EventSource.OPEN) say(fresh, "kept up to date");
  else say(fresh, "asked for every 5 s");
}

function lose() {
  if ("gone" in root.dataset) return;
  root.dataset.gone = "";
  const since = exact.format(new Date(Date.now() - (clock() - shown.at)));
  const text = answered
    ? `This page could not be brought up to date since ${since}. What it shows is from then.`
    : `meter-sync has not answered since ${since}. What this page shows is from then.`;
  if (find("word")) {
    find("banner").querySelector("use").setAttribute("href", "#gap");
    say(find("word"), "No connection");
    say(find("summary"), text);
  }
  document.title = `No connection – ${title}`;
  find("favicon").href = "/assets/gap-gone.svg";
  say(find("announce"), text);
  for (const button of document.querySelectorAll("main button:enabled")) button.disabled = true;
  tell();
}

// The stream --------------------------------------------------------------------------------------------------------

const number = new Intl.NumberFormat("en");
const isLive = document.querySelector("[data-live]:not(#place)") !== null;
let stream = null;
let asked = null;   // the last run for which `progress` fetched the page

function hear() { heard = clock(); }

function progress(event) {
  hear();
  const run = JSON.parse(event.data);
  const running = document.querySelector(`[data-run="${CSS.escape(run.run_id)}"]`);
  if (!running) {
    const isOurs = (find("banner") && !find("tenants")) || location.pathname.endsWith(`/runs/${run.run_id}`);
    if (isOurs && asked !== run.run_id) { asked = run.run_id; refresh(); }
    return;
  }
  for (const phase of running.querySelectorAll("[data-phase]")) {
    if (phase.dataset.phase === run.phase) phase.setAttribute("aria-current", "step");
    else phase.removeAttribute("aria-current");
  }
  say(running.querySelector("#rows"), `${number.format(run.rows).replaceAll(",", "\u202f")} rows read so far`);
}

let soon = null;

/** Fetches the page, because something has changed. The list of tenants is fetched at most every LIST_MS. */
function renew() {
  hear();
  if (!find("tenants")) { refresh(); return; }
  soon ??= setTimeout(() => { soon = null; refresh(); }, Math.max(0, LIST_MS - clock() + shown.at));
}

function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource(STREAM);
  stream.addEventListener("open", () => { hear(); refresh(); });
  stream.addEventListener("status", renew);
  stream.addEventListener("progress", progress);
  stream.addEventListener("heartbeat", hear);
  stream.addEventListener("error", tell);
}

function hush() {
  stream?.close();
  stream = null;
}

let wall = Date.now() - clock();

function poll() {
  // If the machine slept or its clock was set, the page may be outdated without notice.
  const moved = Math.abs(Date.now() - clock() - wall) > POLL_MS;
  wall = Date.now() - clock();
  if (document.hidden && clock() - shown.at < HIDDEN_MS) return;
  if (stream?.readyState === EventSource.CLOSED) { hush(); listen(); }
  const isHeard = stream?.readyState === EventSource.OPEN && clock() - heard < QUIET_MS;
  if (moved || !isHeard || due !== null) refresh();
}

// Keyboard and buttons -------------------------------------------------------------------------

/** Shows the text of the focused bar. A mouse shows it as the title of the bar. */
function point() {
  const bar = document.activeElement?.closest("#strip [aria-label]");
  say(find("pointed"), bar?.getAttribute("aria-label") ?? "");
}

function strip(event) {
  const bars = [...event.currentTarget.querySelectorAll("[tabindex]")];
  const at = bars.indexOf(document.activeElement);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: bars.length - 1 }[event.key];
  if (at < 0 || to === undefined || !bars[to]) return;
  event.preventDefault();
  give(bars[to]);
}

async function copy(event) {
  const button = event.currentTarget;
  const label = button.dataset.label ??= button.textContent;
  let said = "Could not be copied";
  try {
    const answer = await fetch(button.dataset.copy, { signal: patience() });
    if (answer.ok) {
      await navigator.clipboard.writeText(JSON.stringify(await answer.json(), null, 2));
      said = "Copied";
    }
  } catch { /* the button then says that it failed */ }
  say(button, said);
  say(find("announce"), said);
  setTimeout(() => say(button, label), TWICE_MS);
}

function enhance() {
  const bars = find("strip");
  if (bars) bars.onkeydown = strip;
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.onclick = copy;
  }
}

let submitted = -Infinity;

/** Ignores a second click, which would only report that a run is in progress. */
function submit(event) {
  if (clock() - submitted < TWICE_MS) event.preventDefault();
  else submitted = clock();
}

for (const part of document.querySelectorAll("[data-live]")) sent.set(part.id, mark(part));
localise(document);
enhance();
if (find("strip")) find("strip").scrollLeft = find("strip").scrollWidth;
document.addEventListener("submit", submit);
for (const kind of ["focusin", "focusout"]) document.addEventListener(kind, point);
document.addEventListener("pointerdown", (event) => { pressed = event.target; });
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => setTimeout(() => { pressed = null; }));
tell();
tick();
setInterval(tick, 1000);
if (isLive) {
  listen();
  setInterval(poll, POLL_MS);
  document.addEventListener("change", refresh);   // after a box is unticked, its part may be replaced
  document.addEventListener("visibilitychange", () => { if (document.hidden) hush(); else { listen(); refresh(); } });
  addEventListener("pagehide", hush);
}
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
