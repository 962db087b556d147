// Keeps the page fresh: the server renders it, this replaces the parts that have changed. Everything works without it.
// A part is an element with an id and `data-live`. Nothing is made from strings, so nothing that a database holds
// can become markup here that it was not there.
//
// Only a page that was shown counts as fresh: that the server is heard, or that something answers in its place, does not.
// All spans are measured by a clock that nobody sets, and times are told by the server's.

const STREAM = document.body.dataset.events;
const QUIET_MS = 20_000;     // a heartbeat and a little: whoever is silent for longer is asked
const SILENCE_MS = 35_000;   // two heartbeats and a little: whoever then does not answer either is gone
const POLL_MS = 5_000;       // while there is no stream
const HIDDEN_MS = 60_000;    // while nobody looks; a browser opens few streams at a time
const ANSWER_MS = 12_000;    // an answer takes milliseconds, or as long as a database is waited for
const FAILURES = 2;          // one failure may be a restart
const LIST_MS = 1_000;        // the list of tenants is asked for no more often, however many runs begin and end
const TWICE_MS = 3_000;      // two clicks so soon after each other are one

const root = document.documentElement;
const find = (id) => document.getElementById(id);
const clock = () => performance.now();

/** What the server sent for each part, as the parts themselves are changed by `tick`. */
const sent = new Map();
let title = document.title;
let shown = { at: clock(), time: stamp(document) };   // the last page that was shown, by our clock and by the server's
let heard = clock();                                  // when the server last said anything
let due = null;                                       // since when something has changed that is not shown
let failures = 0;

// Times -------------------------------------------------------------------------------------------------------------

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const toTheMinute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
/** A time in the reader's zone, as exactly as it is given. */
const localTime = given => (/T\d\d:\d\dZ$/.test(given) ? toTheMinute : exact).format(new Date(given));

function stamp(page) {
  return new Date(page.querySelector("#fresh time")?.dateTime ?? NaN).getTime();
}

/** The server's time. */
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

/** What a part says, but for the time that goes on by itself. */
function mark(part) {
  const copy = part.cloneNode(true);
  for (const one of copy.querySelectorAll(COUNTED)) one.textContent = "";
  return copy.outerHTML;
}

/** A way back to the focused element after its part was replaced. */
function focused(part) {
  const at = document.activeElement;
  if (!part.contains(at)) return null;
  const inStrip = at.closest("#strip");
  const first = (fresh) => inStrip && fresh.querySelector("#strip a");
  if (at.id) return (fresh) => find(at.id) ?? first(fresh);
  // a link by what it leads to, as those before it may have become more
  const href = at.getAttribute("href");
  const kind = href === null ? at.tagName : `a[href="${CSS.escape(href)}"]`;
  const index = [...part.querySelectorAll(kind)].indexOf(at);
  return (fresh) => fresh.querySelectorAll(kind)[index] ?? first(fresh);
}

let lent = null;   // who gets the focus back when it can be pressed again

/** Gives an element the focus that its part had; in the strip it becomes the one that the tab key reaches. */
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

/** Where the strip stands; at its end it stays there as runs come. */
function scrolled(part) {
  const strip = part.querySelector("#strip");
  if (!strip) return () => {};
  const { scrollLeft, scrollWidth, clientWidth } = strip;
  const isAtEnd = scrollLeft + clientWidth >= scrollWidth - 2;
  return () => { const fresh = find("strip"); if (fresh) fresh.scrollLeft = isAtEnd ? fresh.scrollWidth : scrollLeft; };
}

let pressed = null;

/** Whether somebody is at a part: copies from it, or has a button or a link of it half pressed. */
function isInHand(part) {
  const selection = getSelection();
  return (!selection.isCollapsed && selection.containsNode(part, true)) || (pressed !== null && part.contains(pressed));
}

/** Puts the parts that are others now in their place; whether all of them are. */
function replace(fresh) {
  let all = true;
  for (const next of fresh.querySelectorAll("[data-live]")) {
    const part = find(next.id);
    const text = mark(next);
    if (!part || sent.get(next.id) === text) continue;
    if (part.querySelector("input[type=checkbox]:checked")) {
      // Somebody is deciding, on what is no longer so.
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

/** How it stands, in a few words. */
function state() {
  const word = find("word")?.textContent ?? document.querySelector("#run-head h1")?.textContent.trim();
  const more = find("busy") ?? find("summary") ?? document.querySelector("#run-head p");
  return [word, more?.textContent].filter(Boolean).join(". ");
}

function show(fresh) {
  const script = (page) => page.querySelector("script[type=module]")?.getAttribute("src");
  if (script(fresh) !== script(document)) { location.reload(); return; }   // the server is of another version
  const wasGone = "gone" in root.dataset;
  if (wasGone) sent.clear();   // what was changed to say so
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
let answered = false;   // whether it was the server that did not give the page

/** Lets a request wait no longer than that. */
function patience() {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), ANSWER_MS);
  return abort.signal;
}

/** Asks for the whole page, once at a time. */
async function refresh() {
  due ??= clock();
  if (asking) { again = true; return; }
  asking = true;
  try {
    do {
      again = false;
      answered = false;
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store", signal: patience() });
      if (answer.redirected && new URL(answer.url).pathname === "/sign-in") { location.reload(); return; }   // the cookie has ended
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      // A proxy, or whatever the network puts in the way, answers as well.
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

// Whether the server is there ---------------------------------------------------------------------------------------

function judge() {
  const isSilent = clock() - Math.min(heard, due ?? heard) > SILENCE_MS;
  if (failures >= FAILURES || (failures > 0 && isSilent)) lose();
}

/** How fresh the page is, in the one place that says so. */
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
let asked = null;   // the run that was asked for last

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

/** Asks for the page, since something has changed. */
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
  // A machine that slept, or whose clock was set, knows less than it thinks.
  const moved = Math.abs(Date.now() - clock() - wall) > POLL_MS;
  wall = Date.now() - clock();
  if (document.hidden && clock() - shown.at < HIDDEN_MS) return;
  if (stream?.readyState === EventSource.CLOSED) { hush(); listen(); }
  const isHeard = stream?.readyState === EventSource.OPEN && clock() - heard < QUIET_MS;
  if (moved || !isHeard || due !== null) refresh();
}

// What the keyboard and the buttons do more -------------------------------------------------------------------------

/** Says what the focused bar shows: who points at it has its title. */
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
  } catch { /* what is said is all there is to do */ }
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

/** A second click would only be told that a run is in progress. */
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
  document.addEventListener("change", refresh);   // a tick that is taken back lets go of what it held
  document.addEventListener("visibilitychange", () => { if (document.hidden) hush(); else { listen(); refresh(); } });
  addEventListener("pagehide", hush);
}
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
