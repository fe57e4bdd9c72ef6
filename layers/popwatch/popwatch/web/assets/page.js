// The page: polls the status and changes only the elements that differ. Text of servers and users goes into text nodes
// and attributes, never into markup.

const STATES = ["lost", "down", "warn", "untested", "maintenance", "suspended", "up"];
const FAILING = ["lost", "down", "warn"];
const MAX_GROUPS = 12; // groups shown at first: those with most failing targets
const MAX_TIMELINES = 50; // in one request, the limit of the API
const MAX_TESTS = 60; // bars of a target that has been watched for less than an hour
const FEWEST_BARS = { tests: 20, hours: 24, days: 30 }; // room for what is still to come
const LONGEST_WAIT = 120; // seconds until a test that is due has a result: a minute to the next sweep, and its own time
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

const view = {
  targets: new Map(), // id -> the target as the API returned it
  rows: new Map(), // id -> its elements
  timelines: new Map(), // id -> { version, unit } of the bars that are drawn
  open: null, // id of the target whose details are open
  state: null,
  group: null,
  tag: null,
  sort: "worst",
  allGroups: false,
  seconds: 5,
  updated: null,
};

// --- Elements -------------------------------------------------------------------------------------------------------

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setTitle(element, text) {
  if (element.title !== text) element.title = text;
}

function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

// --- Texts ----------------------------------------------------------------------------------------------------------

// The Swedish format is that of ISO 8601, 2026-11-25 02:51:30; in the time zone of the browser.
const clock = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const hour = new Intl.DateTimeFormat("sv-SE", { timeStyle: "short" });
const second = new Intl.DateTimeFormat("sv-SE", { timeStyle: "medium" });
const dateTime = (text) => (text ? clock.format(new Date(text)) : "");
const utc = (text) => `${new Date(text).toISOString().slice(0, 19).replace("T", " ")} UTC`;
const time = (text) => (text ? el("time", { datetime: text, title: utc(text) }, dateTime(text)) : "");

// Sentences of the API name times in UTC: the page shows those, too, in the browser's time zone.
const UTC_TIME = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/;
function withTimes(text) {
  const [before, date, timeOfDay, ...after] = text.split(UTC_TIME);
  if (date === undefined || Number.isNaN(Date.parse(`${date}T${timeOfDay}Z`))) return [text];
  return [before, time(`${date}T${timeOfDay}Z`), ...withTimes(text.slice(before.length + date.length + timeOfDay.length + 5))];
}

function duration(seconds, most = 2) {
  let left = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => left >= size);
  const parts = [];
  for (const [unit, size] of units.slice(first < 0 ? 3 : first).slice(0, most)) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count || !parts.length) parts.push(`${count} ${unit}`);
  }
  return parts.join(" ");
}

const secondsBetween = (earlier, later) => (new Date(later) - new Date(earlier)) / 1000;
const ms = (value) => (value === null || value === undefined ? "-" : `${value >= 100 ? value.toFixed(0) : Number(value.toPrecision(3))} ms`);
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

const percent = (share) => (share === 1 ? "100 %" : `${(Math.floor(share * 100000) / 1000).toFixed(3)} %`);

const endpoint = (target) => `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}${target.tls === "none" ? "" : `, TLS ${target.tls}`}`;

function result(target) {
  if (target.result === null) return "";
  return target.result === "passed" ? ms(target.rtt_ms) : `${target.message} (${target.reason})`;
}

// A test that is due has been handed out: until its result is there, it is being made.
function nextTest(target, at) {
  if (!target.next_test_at) return "";
  const seconds = secondsBetween(at, target.next_test_at);
  if (seconds >= 0.5) return `next in ${duration(seconds)}`;
  return seconds > -LONGEST_WAIT ? "testing" : `due for ${duration(-seconds)}`;
}

// --- Requests -------------------------------------------------------------------------------------------------------

// The header keeps the browser from opening a login dialog of its own at a 401: the page goes to the sign-in page.
async function get(path) {
  const response = await fetch(path, { headers: { "X-Popwatch-Page": "1" }, signal: AbortSignal.timeout(30000) });
  if (response.status === 401) location.assign(`sign-in${location.search}`);
  if (!response.ok) throw new Error(`${response.status}`);
  return response.json();
}

let refreshing = false;

async function refresh() {
  if (refreshing || document.hidden) return;
  refreshing = true;
  try {
    const status = await get("api/status");
    const first = !view.updated;
    view.seconds = status.refresh_seconds;
    view.updated = new Date();
    show(status);
    if (first) await openFirst();
    else if (view.open) await showDetails(view.open);
  } catch (error) {
    banner(`Not updated since ${view.updated ? dateTime(view.updated) : "this page was opened"}: popwatch does not answer (${error.message}).`);
  } finally {
    refreshing = false;
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, view.seconds * 1000);
}

function banner(text) {
  setText(byId("banner"), text);
  setHidden(byId("banner"), !text);
}

// --- The list -------------------------------------------------------------------------------------------------------

function show(status) {
  const before = view.targets;
  view.targets = new Map(status.targets.map((target) => [target.target_id, target]));
  setHidden(byId("sign-out"), !status.signed_in);
  const since = status.last_sweep ? `the last sweep was ${duration(secondsBetween(status.last_sweep, status.at))} ago` : "there has been no sweep yet";
  banner(status.stopped ? `Nothing is being watched: ${since}. "popwatch doctor" says why.` : "");
  summarize(status, since);
  announceChanges(before);
  showStates();
  showGroups();
  showTags();
  view.at = status.at;
  showRows(status.at, before.size > 0);
  scheduleTimelines();
}

function countBy(targets, key) {
  const counts = new Map();
  for (const target of targets) counts.set(target[key], (counts.get(target[key]) ?? 0) + 1);
  return counts;
}

function summarize(status, since) {
  const counts = countBy(status.targets, "state");
  const bad = (counts.get("down") ?? 0) + (counts.get("lost") ?? 0);
  const all = counted(status.targets.length, "target");
  const warned = counts.get("warn") ? `${counts.get("warn")} in warn` : "none down";
  setText(byId("summary"), `${bad ? `${bad} of ${all} down` : `${all}, ${warned}`}; ${since}.`);
  document.title = status.stopped ? "stopped - popwatch" : bad ? `${bad} down - popwatch` : "popwatch";
}

function announceChanges(before) {
  const changes = [...view.targets.values()]
    .filter((target) => before.has(target.target_id) && before.get(target.target_id).state !== target.state)
    .map((target) => `${target.name} is now ${target.state}`);
  if (!changes.length) return;
  const more = changes.length > 5 ? [`${changes.length - 5} more changed`] : [];
  setText(byId("news"), `${[...changes.slice(0, 5), ...more].join(". ")}.`); // a live region: screen readers read it
}

// The buttons are kept from one refresh to the next, so that the focus stays on them.
function showTiles(box, entries, press) {
  const unused = new Map([...box.children].map((button) => [button.dataset.key, button]));
  let chosen = null;
  entries.forEach(({ key, number, label, style, pressed }, position) => {
    let button = unused.get(key);
    if (!button) {
      button = el("button", { type: "button", "data-key": key, onclick: () => press(key) }, el("b"), el("span"));
      if (number === null) button.firstChild.remove();
    }
    unused.delete(key);
    if (number !== null) setText(button.firstChild, String(number));
    setText(button.lastChild, label);
    button.lastChild.className = style;
    if (pressed && button.getAttribute("aria-pressed") !== "true") chosen = button;
    button.setAttribute("aria-pressed", String(pressed));
    if (box.children[position] !== button) box.insertBefore(button, box.children[position] ?? null);
  });
  for (const button of unused.values()) button.remove();
  if (chosen) box.scrollLeft = chosen.offsetLeft - box.offsetLeft; // on a phone the groups are one line
}

function showStates() {
  const counts = countBy(view.targets.values(), "state");
  const entries = STATES.filter((state) => counts.has(state) || state === view.state).map((state) => ({
    key: state, number: counts.get(state) ?? 0, label: state, style: `state ${state}`, pressed: view.state === state,
  }));
  showTiles(byId("states"), entries, (key) => { choose("state", view.state === key ? null : key); });
}

function showGroups() {
  const groups = new Map();
  for (const target of view.targets.values()) {
    if (!target.group) continue;
    const group = groups.get(target.group) ?? { all: 0, failing: 0, worst: STATES.length };
    group.all += 1;
    group.failing += FAILING.includes(target.state) ? 1 : 0;
    group.worst = Math.min(group.worst, STATES.indexOf(target.state));
    groups.set(target.group, group);
  }
  const byGroup = ([a], [b]) => collator.compare(a, b);
  const worstFirst = [...groups].sort((one, other) => other[1].failing - one[1].failing || byGroup(one, other));
  const shown = worstFirst.filter(([name], index) => view.allGroups || index < MAX_GROUPS || name === view.group).sort(byGroup);
  const entries = shown.map(([name, group]) => ({
    key: `=${name}`, number: null, style: group.failing ? STATES[group.worst] : "", pressed: view.group === name,
    label: group.failing ? `${name}: ${group.failing} of ${group.all} failing` : `${name}: ${group.all}`,
  }));
  if (shown.length < groups.size) entries.push({ key: "all", number: null, style: "", pressed: false, label: `${groups.size - shown.length} more groups` });
  setHidden(byId("groups"), groups.size < 2);
  showTiles(byId("groups"), entries, (key) => {
    if (key === "all") view.allGroups = true;
    choose("group", key === "all" ? view.group : view.group === key.slice(1) ? null : key.slice(1));
  });
}

// The list of tags is made anew only when it differs: one that is open would close.
function showTags() {
  const tags = [...new Set([...view.targets.values()].flatMap((target) => target.tags).concat(view.tag ?? []))].sort(collator.compare);
  const box = byId("tag");
  setHidden(box.parentElement, !tags.length);
  if (box.dataset.tags !== JSON.stringify(tags)) {
    box.replaceChildren(el("option", { value: "" }, "all"), ...tags.map((tag) => el("option", { value: `=${tag}` }, tag)));
    box.dataset.tags = JSON.stringify(tags);
  }
  box.value = view.tag === null ? "" : `=${view.tag}`;
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const byName = (a, b) => collator.compare(a.name, b.name);
const ORDERS = {
  worst: null, // as the API sends them
  name: byName,
  group: (a, b) => !a.group - !b.group || collator.compare(a.group ?? "", b.group ?? "") || byName(a, b),
  slowest: (a, b) => (b.rtt_ms ?? -1) - (a.rtt_ms ?? -1) || byName(a, b),
  changed: (a, b) => Date.parse(b.since ?? 0) - Date.parse(a.since ?? 0) || byName(a, b),
};

function showRows(at, live) {
  const list = byId("targets");
  for (const [id, row] of view.rows) {
    if (view.targets.has(id)) continue;
    row.item.remove();
    view.rows.delete(id);
  }
  for (const [id, target] of view.targets) fill(view.rows.get(id) ?? makeRow(id), target, at, live);
  const targets = [...view.targets.values()];
  let position = list.firstElementChild;
  for (const { target_id: id } of ORDERS[view.sort] ? targets.sort(ORDERS[view.sort]) : targets) {
    const row = view.rows.get(id);
    if (position === row.item) position = position.nextElementSibling;
    else move(row.item, list, position);
  }
  filter();
}

// Moving an element takes the focus from the elements in it.
function move(item, list, before) {
  const focused = item.contains(document.activeElement) ? document.activeElement : null;
  list.insertBefore(item, before);
  focused?.focus({ preventScroll: true });
}

function makeRow(id) {
  const row = {
    label: el("span"), since: el("span", { class: "since" }), open: el("button", { type: "button", "aria-expanded": "false", onclick: () => toggle(id) }),
    server: el("span", { class: "server" }), result: el("span"), remarks: el("span", { class: "remark" }),
    bars: svg("svg", { class: "bars", viewBox: "0 0 450 20", preserveAspectRatio: "none", role: "img" }),
    figures: el("span", { class: "soft" }), alerts: el("span"), failures: el("span"), next: el("span"), state: null,
  };
  row.history = el("div", { class: "history", onpointermove: (event) => nameBar(row, event) }, row.bars, row.figures);
  const stateBox = el("div", {}, row.label, row.since);
  row.stateBox = stateBox;
  row.item = el("li", { class: "target" }, el("div", { class: "row" },
    stateBox,
    el("div", { class: "name" }, el("h3", {}, row.open), row.server),
    el("div", { class: "result" }, row.result, row.remarks),
    row.history,
    el("div", { class: "counts" }, row.alerts, row.failures, row.next)));
  row.item.dataset.id = id;
  row.bars.setAttribute("aria-label", "Availability");
  view.rows.set(id, row);
  watcher.observe(row.item);
  return row;
}

function fill(row, target, at, live) {
  if (row.state !== target.state) {
    row.stateBox.className = `state ${target.state}`;
    row.item.classList.toggle("fresh", live);
    row.state = target.state;
  }
  setText(row.label, target.state.toUpperCase());
  setText(row.since, target.since ? `for ${duration(secondsBetween(target.since, at))}` : "");
  setTitle(row.since, target.since ? `since ${dateTime(target.since)}, ${utc(target.since)}` : "");
  setText(row.open, target.name);
  setText(row.server, [endpoint(target), target.group].filter(Boolean).join(" -\u2060\u00a0")); // no line ends with the dash: U+2060 keeps a hyphen from a break after it
  setText(row.result, result(target));
  const remarks = target.remarks.join("; ");
  if (row.remarked !== remarks) row.remarks.replaceChildren(...withTimes(remarks));
  row.remarked = remarks;
  setText(row.alerts, target.alerts_sent ? `alert ${target.alerts_sent} of ${target.max_alerts}` : "");
  setText(row.failures, target.failures ? `${target.failures} failed` : "");
  setText(row.next, nextTest(target, at));
}

function filter() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const [id, target] of view.targets) {
    const wanted = matches(target, words);
    setHidden(view.rows.get(id).item, !wanted);
    shown += wanted ? 1 : 0;
  }
  const all = view.targets.size;
  setText(byId("shown"), shown === all ? "" : `${shown} of ${all} shown`);
  setText(byId("empty"), all ? "No target matches." : "There are no targets yet: `popwatch targets put mail host=pop.example.net` adds one.");
  setHidden(byId("empty"), shown > 0);
  setHidden(byId("clear"), !isFiltered());
}

function matches(target, words) {
  if (view.state && target.state !== view.state) return false;
  if (view.group !== null && target.group !== view.group) return false;
  if (view.tag !== null && !target.tags.includes(view.tag)) return false;
  const text = [target.target_id, target.name, target.host, target.group, target.tags.join(" "), target.state, target.reason, target.message].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

const isFiltered = () => Boolean(view.state || view.group !== null || view.tag !== null || byId("search").value);

// A filter has been chosen: it is in the address, so that the address can be sent to others.
function choose(name, value) {
  view[name] = value;
  showStates();
  showGroups();
  showTags();
  filter();
  writeAddress();
}

function showAll() {
  byId("search").value = "";
  view.group = view.tag = null;
  choose("state", null);
}

// --- The address ----------------------------------------------------------------------------------------------------

// ?target=ID&state=down&group=...&tag=...&search=...&sort=name, each of them optional. #ID is that of earlier versions.
function readAddress() {
  const given = new URLSearchParams(location.search);
  for (const name of ["state", "group", "tag"]) view[name] = given.get(name) || null;
  if (!STATES.includes(view.state)) view.state = null;
  view.sort = given.get("sort") in ORDERS ? given.get("sort") : "worst";
  byId("sort").value = view.sort;
  byId("search").value = given.get("search") ?? "";
  return given.get("target") || idInFragment();
}

function idInFragment() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || null;
  } catch {
    return null;
  }
}

function writeAddress() {
  const parts = { target: view.open, state: view.state, group: view.group, tag: view.tag, search: byId("search").value.trim(), sort: view.sort === "worst" ? null : view.sort };
  const query = new URLSearchParams(Object.entries(parts).filter(([, value]) => value)).toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
}

// --- Timelines ------------------------------------------------------------------------------------------------------

const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target.dataset.id);
    else visible.delete(target.dataset.id);
  }
  scheduleTimelines();
}, { rootMargin: "200px" });

let timelinesTimer = 0;
function scheduleTimelines() {
  clearTimeout(timelinesTimer);
  timelinesTimer = setTimeout(showTimelines, 150);
}

// A timeline is requested again when its version differs: after a change of state; of days once an hour, of hours every
// ten minutes, of single tests after each of them.
function versionOf(target, unit) {
  const age = { tests: target.tested_at, hours: new Date().toISOString().slice(0, 15) }[unit] ?? new Date().toISOString().slice(0, 13);
  return `${target.since} ${age}`;
}

const isDrawn = (id) => {
  const drawn = view.timelines.get(id);
  return drawn && drawn.version === versionOf(view.targets.get(id), drawn.unit);
};

async function showTimelines() {
  const wanted = [...visible].filter((id) => view.targets.has(id) && !isDrawn(id));
  for (let start = 0; start < wanted.length; start += MAX_TIMELINES) {
    const ids = wanted.slice(start, start + MAX_TIMELINES);
    const targets = ids.map((id) => view.targets.get(id));
    try {
      const found = await get(`api/timelines?${new URLSearchParams([["zone", ZONE], ...ids.map((id) => ["id", id])])}`);
      ids.forEach((id, index) => {
        if (!found[id] || !view.rows.has(id)) return;
        const unit = unitOf(found[id]);
        view.timelines.set(id, { version: versionOf(targets[index], unit), unit });
        drawTimeline(view.rows.get(id), found[id], targets[index]);
      });
      nameBars();
    } catch {
      return; // the next refresh shows the banner, and requests them again
    }
  }
}

const unitOf = (timeline) => (timeline.tests?.length ? "tests" : timeline.hours ? "hours" : "days");

// What the legend says a bar is: of a young installation it is an hour or a test.
const BARS = { days: "a day", hours: "an hour", tests: "a test" };
function nameBars() {
  const drawn = new Set([...view.timelines].filter(([id]) => view.rows.has(id)).map(([, { unit }]) => unit));
  setText(byId("bars"), `Each bar is ${Object.keys(BARS).filter((unit) => drawn.has(unit)).map((unit) => BARS[unit]).join(" or ")}`);
}

// The bars of a timeline: what each is called, and its seconds of up, down and so on.
function barsOf(timeline) {
  if (timeline.tests?.length) {
    return timeline.tests.slice(-MAX_TESTS).map((test) => ({ name: dateTime(test.at), text: test.error ?? ms(test.rtt_ms), [test.error ? "down" : "up"]: 1 }));
  }
  if (timeline.hours) return timeline.hours.map((part) => ({ ...part, name: dateTime(part.hour).slice(0, 16), text: shares(part) }));
  const known = timeline.days.filter((part) => !timeline.known_since || part.day >= dateTime(timeline.known_since).slice(0, 10));
  return (timeline.known_since ? known : []).slice(-90).map((part) => ({ ...part, name: part.day, text: shares(part) }));
}

const shares = (part) => ["up", "down", "maintenance", "suspended", "untested"].filter((kind) => part[kind] >= 0.5).map((kind) => `${duration(part[kind])} ${kind}`).join(", ");

function drawTimeline(row, timeline, target) {
  const { bars, figures } = row, parts = barsOf(timeline);
  const slots = Math.max(FEWEST_BARS[unitOf(timeline)], parts.length), width = 450 / slots, empty = slots - parts.length;
  const paths = { up: "", down: "", maintenance: "", untested: "", none: "" };
  const draw = (kind, index, from, to) => { paths[kind] += `M${(index * width).toFixed(1)} ${from.toFixed(1)}h${(width * 0.8).toFixed(1)}V${to.toFixed(1)}h-${(width * 0.8).toFixed(1)}z`; };
  for (let index = 0; index < empty; index += 1) draw("none", index, 0, 20);
  parts.forEach((part, index) => {
    const idle = (part.untested ?? 0) + (part.suspended ?? 0);
    const total = (part.up ?? 0) + (part.down ?? 0) + (part.maintenance ?? 0) + idle || 1;
    // At least 3 of 20 units high, so that a minute down is visible.
    const height = (seconds) => (seconds ? Math.max(3, (20 * seconds) / total) : 0);
    let top = 0;
    for (const [kind, units] of [["down", height(part.down)], ["maintenance", height(part.maintenance)], ["untested", part.up ? height(idle) : 20]]) {
      if (!units || top >= 20) continue;
      draw(kind, empty + index, top, Math.min(20, top + units));
      top += units;
    }
    if (top < 20) draw("up", empty + index, top, 20);
  });
  bars.replaceChildren(...Object.entries(paths).filter(([, path]) => path).map(([kind, path]) => svg("path", { class: kind, d: path })));
  row.parts = [...Array(empty).fill(null), ...parts];
  const text = figuresOf(timeline, target);
  bars.setAttribute("aria-label", `${{ tests: "Tests", hours: "Hours", days: "Days" }[unitOf(timeline)]}: ${text}`);
  setText(figures, text);
}

// Of a target's first hour the tests are counted: availability says little of six tests, and what fails briefly is up.
function figuresOf(timeline, target) {
  const tests = timeline.tests ?? [];
  if (tests.length) return `${counted(tests.length, "test")}, ${tests.filter((test) => test.error).length} failed`;
  return availabilityOf(timeline, target);
}

function availabilityOf(timeline, target) {
  if (timeline.availability === null) return target.tested_at || timeline.known_since ? "neither up nor down yet" : "not tested yet";
  const seconds = Math.min(secondsBetween(timeline.known_since, view.at), 90 * 86400);
  const length = duration(seconds, seconds < 3600 ? 2 : 1); // as exact as the time down beside it
  return `${percent(timeline.availability)} of ${length}, ${counted(timeline.outage_count, "outage")}`;
}

// What a bar stands for is said when the pointer is over it: a text for each would be thousands of elements.
function nameBar(row, event) {
  const box = row.bars.getBoundingClientRect();
  const part = row.parts?.[Math.floor(((event.clientX - box.left) / box.width) * row.parts.length)];
  setTitle(row.history, part ? `${part.name}: ${part.text}` : "");
}

// --- One target -----------------------------------------------------------------------------------------------------

function toggle(id) {
  open(view.open === id ? null : id);
}

async function open(id) {
  if (view.open && view.open !== id) close(view.open);
  if (view.open === id) return;
  view.open = id;
  setHidden(byId("notice"), true);
  writeAddress();
  if (id) await showDetails(id);
}

// The target in the address is shown, whatever the filters beside it say: they may have been true when it was sent.
async function openFirst() {
  const id = readAddress(), target = view.targets.get(id);
  if (target && !matches(target, byId("search").value.toLowerCase().split(/\s+/).filter(Boolean))) showAll();
  showStates();
  showGroups();
  showTags();
  showRows(view.at, false);
  await open(target ? id : null);
  setText(byId("notice"), id && !target ? `There is no target ${id}. It may have been removed.` : "");
  setHidden(byId("notice"), !id || Boolean(target));
  if (target) view.rows.get(id).item.scrollIntoView();
}

function close(id) {
  const row = view.rows.get(id);
  if (!row) return;
  row.open.setAttribute("aria-expanded", "false");
  row.more?.remove();
  row.more = row.version = row.shown = null;
}

// Details are requested when the target has changed, and once a minute.
async function showDetails(id) {
  const row = view.rows.get(id), target = view.targets.get(id);
  if (!row || !target) return;
  row.open.setAttribute("aria-expanded", "true");
  const version = JSON.stringify([target.since, target.failures, target.remarks, new Date().toISOString().slice(0, 16)]);
  if (row.version === version) return;
  try {
    const details = await get(`api/targets/${encodeURIComponent(id)}?${new URLSearchParams({ zone: ZONE })}`);
    if (view.open !== id) return;
    row.version = version;
    const shown = JSON.stringify(details);
    if (row.shown !== shown) replaceDetails(row, details); // unchanged elements keep the reader's selection
    row.shown = shown;
  } catch (error) {
    banner(`The details of ${target.name} cannot be loaded (${error.message}).`);
  }
}

function replaceDetails(row, details) {
  const more = el("section", { class: "more", "aria-label": `Details of ${details.name}` }, ...detailParts(details));
  if (row.more) {
    const scrolled = [...row.more.querySelectorAll(".wide")].map((box) => box.scrollLeft);
    const focused = [...row.more.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    const unfolded = new Set([...row.more.querySelectorAll("details[open]")].map((box) => box.dataset.key));
    row.more.replaceWith(more);
    more.querySelectorAll("details").forEach((box) => { box.open = unfolded.has(box.dataset.key); });
    more.querySelectorAll(".wide").forEach((box, index) => { box.scrollLeft = scrolled[index] ?? 0; });
    more.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
  } else row.item.append(more);
  row.more = more;
}

const FOCUSABLE = "[tabindex], a, button, summary";

function detailParts(details) {
  const { timeline } = details;
  const facts = [
    ["Id", details.target_id],
    ["Server", endpoint(details)],
    ["Last test", details.tested_at ? [time(details.tested_at), `: ${result(details)}`] : details.state === "untested" ? "none yet" : "not known"],
    ["Details", details.detail],
    ["Failing addresses", details.failed_addresses.join("; ")],
    ["Failing since", time(details.failing_since)],
    ["Last passed", time(details.last_good_at)],
    ["Next test", details.next_test_at ? [time(details.next_test_at), ` (${nextTest(details, view.at)})`] : ""],
    ["Certificate", details.certificate_expires ? ["expires ", time(details.certificate_expires), `, ${counted(details.certificate_days, "day")} left`] : ""],
    ["Mailbox", details.mailbox_at ? [`${counted(details.messages, "message")}, ${counted(details.octets, "octet")}, at the login of `, time(details.mailbox_at)] : ""],
    ["Longest time to alert", details.max_alerts ? `${duration(details.longest_notice_seconds)} after an outage begins` : "no alerts are sent: max_alerts is 0"],
    ["Runbook", runbook(details.runbook)],
    ["Notes", details.notes],
    ["Group", details.group ? choice("group", details.group) : ""],
    ["Tags", details.tags.length ? details.tags.map((tag) => choice("tag", tag)) : ""],
    ["Remarks", details.remarks.length ? withTimes(details.remarks.join("; ")) : ""],
    ["Problems", details.problems.join(" ")],
    ["Availability", availabilityOf(timeline, details)],
    ["Address of this view", link(details.target_id)],
  ].filter(([, value]) => value);
  return [
    el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, ...[value].flat())])),
    ...chart(details),
    ...table("Outages of 90 days", ["From", "Until", "Down for", "Error"], details.outages.map((outage) => [
      outage.begun_before ? ["before ", time(outage.begin)] : time(outage.begin), outage.end ? time(outage.end) : "ongoing", duration(outage.down_seconds),
      outage.error ? `${outage.error}${outage.reason ? ` (${outage.reason})` : ""}` : "",
    ])),
    ...table("Events", ["Time", "Event"], details.events.map((event) => [time(event.sent_at ?? event.at ?? event.tick), describe(event, details)])),
  ];
}

const choice = (name, value) => el("button", { type: "button", class: "choice", onclick: () => choose(name, value) }, value);

// Only an address of the web becomes a link: any other scheme could run in the page.
function runbook(text) {
  return /^https?:\/\/\S+$/i.test(text ?? "") ? el("a", { href: text, rel: "noreferrer" }, text) : text;
}

function link(id) {
  const query = `?${new URLSearchParams({ target: id })}`;
  return el("a", { href: query }, new URL(query, location.href).href);
}

function describe(event, details) {
  if (event.kind === "transition") return describeTransition(event);
  if (event.kind === "alert") return describeAlert(event, details);
  if (event.kind === "posture") return describePosture(event);
  const until = event.until ? [" until ", time(event.until)] : [];
  return [event.action, ...until, ` by ${event.by || "unknown"}${event.why ? `: ${event.why}` : ""}`];
}

// An outage ends with its first passed test, the state with the last one that it needs (run_ended_in_maintenance is the stored name).
function describeTransition({ previous, state, reason, at, run_ended_in_maintenance: ended }) {
  const passed = ended && ended < at ? [" (passed since ", time(ended), ")"] : [];
  return [`${previous} to ${state}${reason ? ` (${reason})` : ""}`, ...passed];
}

const TOPICS = { alert: "the alert topic", sms: "the SMS topic" };

// What an alert said, and to whom. SNS does not say who received a message: subscriptions of then are not recorded.
function describeAlert(event, details) {
  const topics = Object.keys(event.deliveries).map((topic) => TOPICS[topic] ?? topic).join(" and ");
  const known = event.receivers?.length ? `By today's subscriptions it goes to ${event.receivers.join(", ")}.` : "By today's subscriptions no one receives it.";
  const to = event.receivers ? known : `Who receives it by today's subscriptions, \`popwatch history ${details.target_id}\` says.`;
  const sms = event.sms ? [el("p", { class: "soft" }, "As SMS:"), el("pre", {}, event.sms)] : [];
  return el("details", { "data-key": `${event.tick} ${event.subject}` },
    el("summary", {}, `alert: ${event.subject}${event.summary ? " (in a summary)" : ""}`),
    el("p", { class: "soft" }, "Sent ", time(event.sent_at), ` to ${topics}. ${to}`), el("pre", {}, event.email), ...sms);
}

// What a server offers since then. What the server said is text of its own.
function describePosture(event) {
  const { posture } = event, offer = (reply) => reply && (reply.capa_supported === false ? "CAPA is refused" : [...reply.capabilities ?? [], ...reply.mechanisms ?? []].join(", "));
  const facts = [
    ["Address", posture.address], ["TLS", posture.tls_version || posture.tls_problem], ["CAPA before TLS", offer(posture.in_clear)], ["CAPA in TLS", offer(posture.in_tls)],
    ["STLS", posture.stls], ["USER before TLS", posture.user_problem ? `not known: ${posture.user_problem}` : posture.user_in_clear], ["TLS 1.0", posture.tls_1_0], ["TLS 1.1", posture.tls_1_1],
    ["Chain", posture.chain_reason || posture.chain], ["Certificate", posture.certificate?.subject],
  ].map(([name, value]) => [name, value || "not tested"]);
  return el("details", { "data-key": `${event.tick} posture` }, el("summary", {}, `posture: ${event.text}`), el("pre", {}, facts.map((fact) => fact.join(": ")).join("\n")));
}

function table(title, heads, rows) {
  if (!rows.length) return [];
  const cells = (texts, name) => texts.map((text, index) => el(name, name === "th" ? { scope: "col" } : { class: index === texts.length - 1 ? "text" : null }, ...[text].flat()));
  return [el("h4", {}, title), el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title },
    el("table", {}, el("thead", {}, el("tr", {}, ...cells(heads, "th"))), el("tbody", {}, ...rows.map((texts) => el("tr", {}, ...cells(texts, "td"))))))];
}

// Round-trip times: by single tests until there is an hour, else by steps, from the first one that has a test.
function seriesOf({ recent, timeline }) {
  if (timeline.tests?.length) {
    const rtts = timeline.tests.map((test) => test.rtt_ms);
    return { means: rtts, maxima: rtts, failed: timeline.tests.map((test) => (test.error ? 1 : 0)), begin: Date.parse(timeline.tests[0].at), end: Date.parse(timeline.tests.at(-1).at), key: "line and columns: each test; red: failed tests" };
  }
  const begin = Date.parse(recent.begin), step = recent.step_seconds * 1000, count = recent.mean_ms.length;
  const first = recent.mean_ms.findIndex((mean, index) => mean !== null || recent.failed[index]);
  const from = Math.max(0, Math.min(first, count - 12)), cut = (values) => values.slice(from);
  return { means: cut(recent.mean_ms), maxima: cut(recent.max_ms), failed: cut(recent.failed), begin: begin + from * step, end: begin + count * step, key: "line: mean; column: maximum of five minutes; red: failed tests" };
}

function chart(details) {
  const { recent } = details, { means, maxima, failed, begin, end, key } = seriesOf(details);
  const [p50, p95, p99] = recent.percentiles_ms, length = duration(Math.min((end - begin) / 1000, 86400), 1);
  const title = begin === end ? "One test so far" : length === "1 d" ? "Last 24 hours" : `Last ${length}`;
  const text = `Round-trip time: p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}; ${counted(recent.tests, "test")}, ${recent.tests - recent.passes} failed`;
  const greatest = Math.max(...maxima.map((value) => value ?? 0));
  const head = [el("h4", {}, title), el("p", { class: "soft" }, text)];
  if (!greatest && !failed.some(Boolean)) return recent.tests ? head : [];
  const height = (value) => (95 * value) / (greatest || 1);
  let line = "", columns = "", failures = "", drawing = false;
  means.forEach((mean, index) => {
    if (maxima[index] !== null) columns += `M${index} 100V${(100 - height(maxima[index])).toFixed(1)}h1V100z`;
    if (failed[index]) failures += `M${index} 0h1V100h-1z`;
    if (mean !== null) line += `${drawing ? "L" : "M"}${index + 0.5} ${(100 - height(mean)).toFixed(1)}`;
    drawing = mean !== null;
  });
  const drawn = svg("svg", { class: "chart", viewBox: `0 0 ${means.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": text },
    svg("path", { class: "failed", d: failures }), svg("path", { class: "most", d: columns }), svg("path", { class: "mean", d: line }), svg("path", { class: "grid", d: `M0 100H${means.length}M0 5H${means.length}` }));
  const format = end - begin < 600000 ? second : hour;
  const parts = begin === end ? [0] : [0, 0.25, 0.5, 0.75, 1]; // a whole day ends at the hour at which it begins
  const marks = parts.map((part) => el("span", {}, format.format(new Date(begin + part * (end - begin)))));
  return [...head, el("p", { class: "axis" }, el("span", {}, greatest ? `maximum ${ms(greatest)}` : ""), el("span", {}, key)), drawn, el("p", { class: "axis", "aria-hidden": "true" }, ...marks)];
}

// --- Start ----------------------------------------------------------------------------------------------------------

let typing = 0;
byId("search").addEventListener("input", () => {
  filter();
  clearTimeout(typing);
  typing = setTimeout(writeAddress, 300); // Safari allows 100 changes of the address in 30 seconds
});
byId("tag").addEventListener("change", (event) => choose("tag", event.target.value ? event.target.value.slice(1) : null));
byId("sort").addEventListener("change", (event) => {
  view.sort = event.target.value;
  showRows(view.at, false);
  writeAddress();
});
byId("clear").addEventListener("click", () => { showAll(); byId("search").focus(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !event.target.closest("input, select")) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "Escape") {
    if (isFiltered()) showAll();
    else open(null);
  }
});
addEventListener("hashchange", () => { if (location.hash) openFirst(); });
document.addEventListener("visibilitychange", refresh);
setText(byId("zone"), ZONE);
poll();
