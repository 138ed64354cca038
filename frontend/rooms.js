// The building: its floors, its rooms, and what their sensors measured.

import { announce, draw, make, part, problem } from "./page.js";
import { Failure, ask, whenLogin, whoIs } from "./server.js";
import { ago, named, number, fullTime, t, whenLanguage } from "./text.js";

const EVERY_MS = 60_000;
const KINDS = ["temperature", "co2", "humidity", "occupancy"];
const DIGITS = { temperature: 1, co2: 0, humidity: 0, occupancy: 0 };
const STUFFY_PPM = 1000; // the Japanese building standard's limit for CO2 indoors
const POOR_PPM = 1500; // the school standard's limit
const READINGS = 120; // of all kinds together
const WIDTH = 120;
const HEIGHT = 28;

let rooms = null; // with their readings by kind, oldest first
let failed = null;
let chosen = null;
let timer = 0;

/** Shows the rooms and keeps them fresh. */
export function watchRooms() {
  whenLogin(plan);
  document.addEventListener("visibilitychange", plan);
  whenLanguage(show);
  plan();
}

function plan() {
  clearInterval(timer);
  if (!whoIs()) {
    rooms = null;
    show();
  } else if (!document.hidden) {
    load();
    timer = setInterval(load, EVERY_MS);
  }
}

async function load() {
  const asker = whoIs();
  const came = await fetched().catch((failure) => failure);
  if (whoIs() !== asker) return; // logged out meanwhile
  failed = came instanceof Failure ? came : null;
  rooms = failed ? rooms : came;
  show();
}

async function fetched() {
  const known = await ask("/api/v1/rooms");
  return Promise.all(
    known.map(async (room) => ({ ...room, series: series(await ask(`/api/v1/rooms/${room.id}/readings?limit=${READINGS}`)) })),
  );
}

function series(readings) {
  const found = {};
  for (const reading of [...readings].reverse())
    (found[reading.kind] ??= []).push({ value: reading.value, at: new Date(reading.measured_at) });
  return found;
}

function show() {
  const focused = document.activeElement?.dataset?.room;
  const top = part("rooms-body").scrollTop;
  part("rooms-body").replaceChildren(...content());
  part("rooms-body").scrollTop = top;
  if (focused) part("rooms-body").querySelector(`[data-room="${focused}"]`)?.focus();
  const newest = rooms && latest(rooms);
  part("rooms-age").textContent = newest ? t("measured", { ago: ago(newest) }) : "";
}

function content() {
  const trouble = failed ? [problem(t(`failure_${failed.kind}`, { status: failed.status }), t("tryAgain"), load)] : [];
  if (!rooms) return trouble.length ? trouble : [make("p", { class: "empty", role: "status" }, t("loading"))];
  if (!rooms.length) return [make("p", { class: "empty" }, t("noRooms"))];
  const floors = [...new Set(rooms.map((room) => room.floor))].sort((one, other) => other - one);
  const room = rooms.find((one) => one.id === chosen) ?? rooms.find((one) => one.floor === floors[0]);
  return [...trouble, make("div", { class: "building" }, ...floors.map((floor) => level(floor, room))), detail(room)];
}

function level(floor, selected) {
  const here = rooms.filter((room) => room.floor === floor);
  return make(
    "section",
    { class: "floor", "aria-label": t("floorLong", { floor }) },
    make("span", { class: "number", "aria-hidden": "true" }, t("floor", { floor })),
    ...here.map((room) => tile(room, room === selected)),
  );
}

function tile(room, selected) {
  const temperature = room.series.temperature?.at(-1);
  const air = room.series.co2?.at(-1);
  const state = air ? quality(air.value) : "none";
  return make(
    "button",
    {
      type: "button",
      class: "tile",
      "data-room": room.id,
      "data-state": state,
      "aria-pressed": String(selected),
      title: room.name,
      onclick: () => select(room.id),
    },
    make("span", { class: "name" }, named(room.name)),
    make("span", { class: "reading" }, temperature ? `${number(temperature.value, 1)}°` : "–"),
    make("span", { class: "air" }, make("span", { class: "dot", "aria-hidden": "true" }), air ? t(`air_${state}`) : t("noReadings")),
  );
}

function select(id) {
  chosen = id;
  show();
  const room = rooms.find((one) => one.id === id);
  const values = KINDS.filter((kind) => room.series[kind]).map(
    (kind) => `${t(kind)} ${written(kind, room.series[kind].at(-1).value)}${t(`unit_${kind}`)}`,
  );
  announce([named(room.name), ...values].join(", "));
}

function detail(room) {
  return make(
    "section",
    { class: "detail" },
    make("h3", {}, named(room.name), make("span", {}, t("floorLong", { floor: room.floor }))),
    make("dl", {}, ...KINDS.map((kind) => measure(kind, room.series[kind] ?? []))),
  );
}

function measure(kind, readings) {
  const newest = readings.at(-1);
  const value = newest ? make("strong", {}, written(kind, newest.value)) : make("strong", {}, "–");
  const state = kind === "co2" && newest ? quality(newest.value) : null;
  return make(
    "div",
    { "data-state": state },
    make("dt", {}, t(kind)),
    make(
      "dd",
      {},
      value,
      make("small", {}, newest ? t(`unit_${kind}`) : ""),
      newest ? make("time", { datetime: newest.at.toISOString(), title: fullTime(newest.at) }, ago(newest.at)) : null,
    ),
    readings.length > 1 ? make("dd", {}, line(kind, readings)) : null,
  );
}

/** The readings as a line; in words for those who do not see it. */
function line(kind, readings) {
  const values = readings.map((one) => one.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [from, to] = [readings[0].at, readings.at(-1).at];
  const x = (one) => ((one.at - from) / (to - from || 1)) * WIDTH;
  const y = (one) => HEIGHT - 2 - ((one.value - low) / (high - low || 1)) * (HEIGHT - 4);
  const points = readings.map((one) => `${x(one).toFixed(1)},${y(one).toFixed(1)}`);
  const words = t("range", { name: t(kind), low: written(kind, low), high: written(kind, high), since: fullTime(from) });
  return draw(
    "svg",
    { class: "line", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    draw("title", {}, words),
    draw("polygon", { points: [`0,${HEIGHT}`, ...points, `${WIDTH},${HEIGHT}`].join(" ") }),
    draw("polyline", { points: points.join(" "), "vector-effect": "non-scaling-stroke" }),
  );
}

const written = (kind, value) => number(kind === "occupancy" ? Math.max(0, Math.round(value)) : value, DIGITS[kind]);
const quality = (ppm) => (ppm < STUFFY_PPM ? "good" : ppm < POOR_PPM ? "warn" : "bad");

function latest(all) {
  const moments = all.flatMap((room) => Object.values(room.series).map((readings) => readings.at(-1).at.getTime()));
  return moments.length ? new Date(Math.max(...moments)) : null;
}
