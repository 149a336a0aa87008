"use strict";
// Linked maps: every canvas shows the same scan; one crosshair, one panel with all that is known
// about its point. Frames as everywhere in zoneaxis: x right, y down, z along the beam.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const [rows, cols] = data.shape;
  const MAP_COLORS = ["#56b4e9", "#e69f00"];
  const DECADES = 3; // of the logarithmic scale of spots, as of the measured patterns
  const NO_VALUE = [209, 209, 209];

  // ---- what the page was given ------------------------------------------------------------

  const TYPES = { float32: Float32Array, int16: Int16Array, int32: Int32Array, uint8: Uint8Array };

  function unpack(array) {
    const bytes = Uint8Array.from(atob(array.base64), (c) => c.charCodeAt(0));
    return new TYPES[array.type](bytes.buffer);
  }

  const colormaps = Object.fromEntries(
    Object.entries(data.colormaps).map(([name, array]) => [name, unpack(array)]));
  const crystals = data.crystals.map((c) => ({
    name: c.name, laue: c.laue,
    hkl: unpack(c.hkl), g: unpack(c.g_inv_angstrom), strength: unpack(c.strength),
  }));
  const maps = data.maps.map((m) => ({
    name: m.name, best: m.n_best, euler: unpack(m.euler_deg), score: unpack(m.score),
    crystal: unpack(m.crystal), off: m.off_deg && unpack(m.off_deg),
  }));
  const layers = new Map(data.layers.map((layer) => [layer.id, {
    ...layer, values: layer.values && unpack(layer.values),
  }]));
  const stored = data.patterns && { ...data.patterns, center: unpack(data.patterns.center_px) };

  // ---- diffraction -------------------------------------------------------------------------

  // G of Bunge angles in degrees, sample to crystal, row after row.
  function matrix([phi1, Phi, phi2]) {
    const [a, b, c] = [phi1, Phi, phi2].map((t) => t * Math.PI / 180);
    const [c1, s1, C, S, c2, s2] = [a, b, c].flatMap((t) => [Math.cos(t), Math.sin(t)]);
    return [
      c1 * c2 - s1 * s2 * C, s1 * c2 + c1 * s2 * C, s2 * S,
      -c1 * s2 - s1 * c2 * C, -s1 * s2 + c1 * c2 * C, c2 * S,
      s1 * S, -c1 * S, C,
    ];
  }

  // The spots of an orientation, as zoneaxis.diffraction.kinematic.enveloped_disks has them.
  function spots(crystal, euler) {
    const { k0_inv_angstrom: k0, precession_rad: cone, azimuths, sigma_inv_angstrom: sigma } = data.optics;
    const G = matrix(euler);
    const tilt = cone + data.optics.convergence_rad;
    const waves = Array.from({ length: azimuths }, (_, i) => {
      const turn = 2 * Math.PI * i / azimuths;
      return [Math.sin(cone) * Math.cos(turn), Math.sin(cone) * Math.sin(turn), Math.cos(cone)]
        .map((v) => v * k0);
    });
    const found = [];
    for (let i = 0; i < crystal.strength.length; i++) {
      const [a, b, c] = crystal.g.subarray(3 * i, 3 * i + 3);
      const [x, y, z] = [0, 1, 2].map((j) => a * G[j] + b * G[3 + j] + c * G[6 + j]);
      const g2 = x * x + y * y + z * z;
      const error = ([kx, ky, kz]) => -(2 * (x * kx + y * ky + z * kz) + g2) / (2 * (kz + z));
      if (Math.abs(error([0, 0, k0])) > 3 * sigma + tilt * Math.sqrt(g2)) continue;
      let envelope = 0;
      for (const k of waves) envelope += (k0 / k[2]) ** 2 * Math.exp(-0.5 * (error(k) / sigma) ** 2);
      found.push({
        hkl: Array.from(crystal.hkl.subarray(3 * i, 3 * i + 3)),
        x, y, intensity: crystal.strength[i] * envelope / azimuths,
      });
    }
    return found;
  }

  function solution(map, point, rank) {
    const at = point * map.best + rank;
    return { euler: Array.from(map.euler.subarray(3 * at, 3 * at + 3)), score: map.score[at] };
  }

  function spotsOf(map, point, rank) {
    const crystal = crystals[map.crystal[point]];
    return crystal ? spots(crystal, solution(map, point, rank).euler) : [];
  }

  // ---- layers as images --------------------------------------------------------------------

  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

  function share(layer, value) {
    const [low, high] = layer.limits;
    const inside = Math.min(high, Math.max(low, value));
    return layer.log ? Math.log(inside / low) / Math.log(high / low) : (inside - low) / (high - low);
  }

  function color(layer, value) {
    if (layer.kind === "classes") return rgb(value < 0 ? layer.none : layer.colors[value]);
    if (Number.isNaN(value)) return NO_VALUE;
    const at = 3 * Math.round(255 * share(layer, value));
    return colormaps[layer.colormap].subarray(at, at + 3);
  }

  async function paint(canvas, layer) {
    const context = canvas.getContext("2d");
    if (layer.kind === "colors") {
      const image = new Image();
      image.src = layer.png;
      await image.decode();
      context.drawImage(image, 0, 0);
      return;
    }
    const pixels = context.createImageData(cols, rows);
    layer.values.forEach((value, i) => {
      pixels.data.set(color(layer, value), 4 * i);
      pixels.data[4 * i + 3] = 255;
    });
    context.putImageData(pixels, 0, 0);
  }

  function text(layer, point) {
    const value = layer.values[point];
    if (layer.kind === "classes") return value < 0 ? "none" : layer.names[value];
    if (Number.isNaN(value)) return "none";
    const shown = layer.unit === "°" ? value.toFixed(2) + "°" : String(Number(value.toPrecision(4)));
    return layer.unit && layer.unit !== "°" ? `${shown} ${layer.unit}` : shown;
  }

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function legend(layer) {
    if (layer.kind === "values") {
      const stop = (i) => `rgb(${colormaps[layer.colormap].subarray(3 * i, 3 * i + 3).join()})`;
      const stops = [0, 64, 128, 191, 255].map(stop);
      const ends = layer.limits.map((v) => String(Number(v.toPrecision(3))) + layer.unit.replace("nm", " nm"));
      const bar = element("i", { style: `background: linear-gradient(to right, ${stops.join()})` });
      return [ends[0], bar, ends[1], layer.log ? " log" : ""];
    }
    if (layer.kind === "classes" && layer.legend) {
      return layer.names.map((name, i) =>
        element("span", {}, element("b", { style: `background: ${layer.colors[i]}` }), name));
    }
    return [layer.kind === "colors" ? "black: not indexed" : "a color each; black: none"];
  }

  // The edges between grains of the map, as one path in units of points.
  function boundaries() {
    const grains = layers.get("grains-0");
    if (!grains) return "";
    const path = [];
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const own = grains.values[row * cols + col];
        if (col + 1 < cols && grains.values[row * cols + col + 1] !== own) path.push(`M${col + 1} ${row}v1`);
        if (row + 1 < rows && grains.values[(row + 1) * cols + col] !== own) path.push(`M${col} ${row + 1}h1`);
      }
    }
    return path.join("");
  }

  function outlines() {
    const made = element("template");
    made.innerHTML = `<svg viewBox="0 0 ${cols} ${rows}" aria-hidden="true"><path d="${edges}"/></svg>`;
    return made.content;
  }

  const edges = boundaries();

  // ---- the maps ----------------------------------------------------------------------------

  const crosses = [];
  const isMap = (layer) => maps.some((map) => map.name === layer.group);

  function addMap(id) {
    const choice = element("select", { "aria-label": "what this map shows" });
    for (const layer of layers.values()) {
      let group = Array.from(choice.children).find((g) => g.label === layer.group);
      if (!group) choice.append(group = element("optgroup", { label: layer.group }));
      const name = isMap(layer) ? `${layer.group}: ${layer.label}` : layer.label;
      group.append(element("option", { value: layer.id }, name));
    }
    const canvas = element("canvas", { width: cols, height: rows, role: "img" });
    const lines = [element("i"), element("i"), element("b")];
    const cross = element("div", { class: "cross", "aria-hidden": "true" }, ...lines);
    const frame = element("div", { class: "frame" }, canvas, outlines(), cross);
    const scale = element("div", { class: "legend" });
    const show = () => {
      const layer = layers.get(choice.value);
      canvas.setAttribute("aria-label", `Map of ${layer.group}: ${layer.label}`);
      scale.replaceChildren(...legend(layer));
      paint(canvas, layer);
    };
    choice.value = id;
    choice.addEventListener("change", show);
    const pointAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const clamp = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));
      return [
        clamp((event.clientY - box.top) / box.height, rows),
        clamp((event.clientX - box.left) / box.width, cols),
      ];
    };
    canvas.addEventListener("pointermove", (event) => {
      if (!state.pinned && event.pointerType !== "touch") select(...pointAt(event));
    });
    canvas.addEventListener("click", (event) => {
      const [row, col] = pointAt(event);
      pin(row, col, !(state.pinned && row === state.row && col === state.col));
    });
    crosses.push(cross);
    $("maps").append(element("div", { class: "map" }, choice, frame, scale));
    show();
  }

  const state = { row: 0, col: 0, rank: 0, pinned: false };

  function select(row, col) {
    if (row !== state.row || col !== state.col) state.rank = 0;
    Object.assign(state, { row, col });
    for (const cross of crosses) {
      cross.style.setProperty("--x", (col + 0.5) / cols);
      cross.style.setProperty("--y", (row + 0.5) / rows);
    }
    showPoint();
  }

  function pin(row, col, pinned = true) {
    state.pinned = pinned;
    select(row, col);
    history.replaceState(null, "", pinned ? `#row=${row}&col=${col}` : location.pathname + location.search);
  }

  // ---- the panel ---------------------------------------------------------------------------

  const ratio = window.devicePixelRatio || 1;

  function prepare(canvas, aspect) {
    const width = canvas.clientWidth || 320;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(width * aspect * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, width * aspect);
    return [context, width];
  }

  // Where a pattern of the frame stands in a canvas: pixel centers, and 1/Å to canvas pixels.
  function geometry(width, tile) {
    if (!stored) {
      const reach = 1.05 * data.optics.k_max_inv_angstrom;
      return { x0: width / 2, y0: width / 2, scale: width / (2 * reach) };
    }
    const pixel = width / stored.size[1];
    const [column, row] = [0, 1].map((i) => stored.center[2 * tile + i]);
    const scale = pixel / stored.inv_angstrom_per_pixel;
    return { x0: (column + 0.5) * pixel, y0: (row + 0.5) * pixel, scale };
  }

  function brightness(list) {
    const top = Math.max(...list.map((spot) => spot.intensity));
    return list.map((spot) => Math.max(0, 1 + Math.log10(spot.intensity / top) / DECADES));
  }

  // Disks as bright as the spots, or rings with a dark seam that stand out on any pattern.
  function drawSpots(context, place, list, hue, filled) {
    const radius = Math.max(2, data.optics.disk_radius_inv_angstrom * place.scale);
    const bright = brightness(list);
    list.forEach((spot, i) => {
      if (bright[i] <= 0) return;
      context.beginPath();
      const [x, y] = [place.x0 + spot.x * place.scale, place.y0 + spot.y * place.scale];
      context.arc(x, y, radius + (filled ? 0 : 1.5), 0, 7);
      context.globalAlpha = filled ? bright[i] : 0.15 + 0.85 * bright[i];
      context.fillStyle = hue;
      if (filled) context.fill();
      else for (const [color, width] of [["#000", 3.5], [hue, 1.5]]) {
        Object.assign(context, { strokeStyle: color, lineWidth: width });
        context.stroke();
      }
    });
    context.globalAlpha = 1;
  }

  function drawSimulated(canvas, list, hue, tile, note) {
    const [context, width] = prepare(canvas, stored ? stored.size[0] / stored.size[1] : 1);
    const place = geometry(width, tile);
    drawSpots(context, place, list, "#fff", true);
    context.beginPath();
    context.arc(place.x0, place.y0, Math.max(2, data.optics.disk_radius_inv_angstrom * place.scale), 0, 7);
    context.fillStyle = "#fff";
    context.fill();
    context.strokeStyle = hue;
    context.lineWidth = 3;
    context.strokeRect(0, 0, canvas.width / ratio, canvas.height / ratio);
    context.font = "12px system-ui, sans-serif";
    context.fillText(note, 8, 18);
  }

  let atlas = null;

  function nearestTile() {
    const [row, col] = [state.row, state.col].map(
      (v, i) => Math.min(Math.round(v / stored.every), stored.grid[i] - 1));
    return { row, col, tile: row * stored.grid[1] + col };
  }

  function drawMeasured(sets) {
    const { row, col, tile } = nearestTile();
    const [h, w] = stored.size;
    const [context, width] = prepare($("measured"), h / w);
    if (atlas) {
      context.imageSmoothingEnabled = false;
      context.drawImage(atlas, col * w, row * h, w, h, 0, 0, width, width * h / w);
    }
    const place = geometry(width, tile);
    sets.forEach(({ list, hue }) => drawSpots(context, place, list, hue, false));
    drawScale(context, place, width * h / w);
  }

  function drawScale(context, place, height) {
    Object.assign(context, { fillStyle: "#fff", strokeStyle: "#000", lineWidth: 3 });
    context.font = "12px system-ui, sans-serif";
    context.strokeText("0.5 Å⁻¹", 10, height - 17);
    context.fillText("0.5 Å⁻¹", 10, height - 17);
    context.strokeRect(10, height - 12, 0.5 * place.scale, 3);
    context.fillRect(10, height - 12, 0.5 * place.scale, 3);
  }

  // Only every few points have their pattern in the file; say whose it is that is shown.
  function elsewhere() {
    const { row, col } = nearestTile();
    const [r, c] = [row * stored.every, col * stored.every];
    return r === state.row && c === state.col ? "" : ` · pattern of row ${r}, column ${c}`;
  }

  function showPoint() {
    const point = state.row * cols + state.col;
    const at = [state.col, state.row].map((v) => String(Number((v * data.step_nm).toPrecision(5))));
    $("point").textContent = `Row ${state.row}, column ${state.col}`;
    const notes = (state.pinned ? " · pinned" : "") + (stored ? elsewhere() : "");
    $("place").textContent = `x ${at[0]} nm, y ${at[1]} nm${notes}`;
    const sets = maps.map((map, i) => ({
      list: spotsOf(map, point, i ? 0 : state.rank), hue: MAP_COLORS[i],
    }));
    state.sets = sets;
    const tile = stored ? nearestTile().tile : 0;
    maps.forEach((map, i) => {
      const crystal = crystals[map.crystal[point]];
      const note = !crystal ? "not indexed" : crystal.strength.length ? "" : "atoms not known: --crystal";
      drawSimulated($(`simulated-${i}`), sets[i].list, MAP_COLORS[i], tile, note);
    });
    if (stored) drawMeasured(sets.filter((_, i) => $(`overlay-${i}`).checked));
    showBeams(point);
    showSolutions(point);
    showValues(point);
  }

  // Marks in the color keys where the beam runs through the crystal, reduced by the Laue group.
  function showBeams(point) {
    for (const mark of document.querySelectorAll(".key i")) mark.remove();
    maps.forEach((map, i) => {
      const crystal = crystals[map.crystal[point]];
      if (!crystal) return;
      const [x, y] = beam(crystal, solution(map, point, i ? 0 : state.rank).euler);
      const [x0, y0, width, height] = data.keys[crystal.laue].place;
      const at = `left: ${100 * (x0 + x * width)}%; top: ${100 * (y0 - y * height)}%`;
      const mark = element("i", { style: `${at}; background: ${MAP_COLORS[i]}`, title: map.name });
      document.querySelector(`[data-laue="${crystal.laue}"]`).append(mark);
    });
  }

  // Stereographic coordinates of the beam in the sector that the color key shows.
  function beam(crystal, euler) {
    const G = matrix(euler);
    const { operators, normals } = data.keys[crystal.laue];
    for (const sign of [1, -1]) {
      for (const rows of operators) {
        const [x, y, z] = rows.map((row) => sign * (row[0] * G[2] + row[1] * G[5] + row[2] * G[8]));
        const inside = normals.every((n) => n[0] * x + n[1] * y + n[2] * z > -1e-6);
        if (inside && z > -1e-6) return [x / (1 + z), y / (1 + z)];
      }
    }
    return [0, 0];
  }

  function showSolutions(point) {
    const lines = maps.flatMap((map, i) => {
      const head = element("tr", { class: "head" }, element("th", { colspan: 6, scope: "rowgroup" },
        element("b", { style: `background: ${MAP_COLORS[i]}` }), map.name));
      const crystal = crystals[map.crystal[point]];
      if (!crystal) return [head, element("tr", {}, element("td", { colspan: 6 }, "not indexed"))];
      if (crystals.length > maps.length) head.firstChild.append(` · ${crystal.name}`);
      return [head, ...Array.from({ length: map.best }, (_, rank) => solutionRow(map, i, point, rank))];
    });
    $("solutions").replaceChildren(...lines);
  }

  function solutionRow(map, number, point, rank) {
    const { euler, score } = solution(map, point, rank);
    const off = map.off ? map.off[point * map.best + rank] : NaN;
    const label = element("th", { scope: "row" }, String(rank + 1));
    if (number === 0 && map.best > 1) {
      const radio = element("input", { type: "radio", name: "rank" });
      radio.setAttribute("aria-label", `show the spots of solution ${rank + 1}`);
      radio.checked = rank === state.rank;
      radio.addEventListener("change", () => { state.rank = rank; showPoint(); });
      label.prepend(radio);
    }
    const cells = [
      ...euler.map((v) => v.toFixed(1)),
      score <= 1 ? score.toFixed(3) : String(Number(score.toPrecision(4))), // of other programs
      Number.isNaN(off) ? "" : off.toFixed(2),
    ];
    return element("tr", {}, label, ...cells.map((v) => element("td", {}, v)));
  }

  function showValues(point) {
    const groups = new Map();
    for (const layer of layers.values()) {
      if (layer.kind === "colors") continue;
      if (!groups.has(layer.group)) groups.set(layer.group, []);
      groups.get(layer.group).push(element("tr", { "data-layer": layer.id },
        element("th", { scope: "row" }, layer.label), element("td", {}, text(layer, point))));
    }
    $("values").replaceChildren(...Array.from(groups, ([name, lines]) => element("table", {},
      element("caption", {}, name), element("tbody", {}, ...lines))));
  }

  // Which reflection the mouse is at, in the measured pattern or a simulated one.
  function readout(event) {
    const canvas = event.currentTarget;
    const box = canvas.getBoundingClientRect();
    const place = geometry(box.width, stored ? nearestTile().tile : 0);
    const x = (event.clientX - box.left - place.x0) / place.scale;
    const y = (event.clientY - box.top - place.y0) / place.scale;
    const q = Math.hypot(x, y);
    const list = state.sets[canvas.dataset.map || 0].list;
    const near = list.map((s) => [Math.hypot(s.x - x, s.y - y), s]).sort((a, b) => a[0] - b[0])[0];
    const found = near && near[0] < 2 * data.optics.disk_radius_inv_angstrom;
    const hkl = found ? `, (${near[1].hkl.join(" ")})` : "";
    $("reading").textContent = `q = ${q.toFixed(3)} Å⁻¹, d = ${(1 / q).toFixed(2)} Å${hkl}`;
  }

  // ---- start -------------------------------------------------------------------------------

  function fromHash() {
    const found = /row=(\d+)&col=(\d+)/.exec(location.hash);
    if (!found || found[1] >= rows || found[2] >= cols) return false;
    pin(Number(found[1]), Number(found[2]));
    return true;
  }

  // Nearest to the middle among the points that the map indexes.
  function middle() {
    let best = [Infinity, rows >> 1, cols >> 1];
    maps[0].crystal.forEach((phase, i) => {
      const [row, col] = [Math.floor(i / cols), i % cols];
      const far = Math.hypot(row - rows / 2, col - cols / 2);
      if (phase >= 0 && far < best[0]) best = [far, row, col];
    });
    return best.slice(1);
  }

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  $("maps").addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT") return;
    const step = STEPS[event.key];
    if (step) {
      const far = event.shiftKey ? 10 : 1;
      pin(...[state.row, state.col].map((v, i) => Math.min(data.shape[i] - 1, Math.max(0, v + far * step[i]))));
    } else if (event.key === "Enter" || event.key === " ") pin(state.row, state.col, !state.pinned);
    else if (event.key === "Escape") pin(state.row, state.col, false);
    else return;
    event.preventDefault();
  });
  for (const canvas of document.querySelectorAll("#panel canvas")) {
    canvas.addEventListener("pointermove", readout);
    canvas.addEventListener("pointerleave", () => { $("reading").textContent = "\u00a0"; });
  }
  for (const box of document.querySelectorAll("#panel input[type=checkbox]")) {
    box.addEventListener("change", showPoint);
  }
  $("size").value = parseFloat(getComputedStyle($("maps")).getPropertyValue("--size"));
  $("size").addEventListener("input", () => $("maps").style.setProperty("--size", `${$("size").value}px`));
  $("edges").addEventListener("change", () => $("maps").classList.toggle("edges", $("edges").checked));
  window.addEventListener("hashchange", fromHash);
  window.addEventListener("resize", showPoint);
  data.tiles.forEach(addMap);
  if (!fromHash()) select(...middle());
  if (stored) {
    const image = new Image();
    image.src = stored.png;
    image.decode().then(() => { atlas = image; showPoint(); });
  }
  window.report = { data, crystals, maps, spots, geometry, beam };
})();
