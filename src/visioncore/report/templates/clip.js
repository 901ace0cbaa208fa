"use strict";
// Plays the sheet of frames, with the chosen unit's responses running under it.
(() => {
  const data = JSON.parse(document.getElementById("clip-data").textContent);
  const get = (id) => document.getElementById(id);
  const sheet = get("sheet"), screen = get("screen"), traces = get("traces");
  const play = get("play"), scrub = get("scrub"), clock = get("clock"), speed = get("speed"), unit = get("unit");
  const duration = data.bins / data.rate_hz;
  const BLUE = "#0072b2", GREY = "#6b6b6b", ORANGE = "#e69f00";
  // Not at 0, where a stimulus may still be grey.
  let time = Math.min(1, duration / 2), playing = false, last = null;

  data.units.forEach((one, i) => unit.add(new Option(one.label, i)));

  // Means over whole bins: a single base bin holds too few spikes to draw.
  const summed = (values, width) => {
    const means = [];
    for (let i = 0; i + width <= values.length; i += width) {
      const some = values.slice(i, i + width).filter((v) => v !== null);
      means.push(some.length ? some.reduce((a, b) => a + b, 0) / some.length : null);
    }
    return means;
  };

  const fit = (canvas, width, height) => {
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    const context = canvas.getContext("2d");
    context.setTransform(dense, 0, 0, dense, 0, 0);
    return context;
  };

  const drawScreen = () => {
    const width = screen.clientWidth, height = width * data.height / data.width;
    screen.style.height = height + "px";
    const context = fit(screen, width, height);
    const frame = Math.min(Math.floor(time * data.frames_per_s), data.frames - 1);
    const column = frame % data.columns, row = Math.floor(frame / data.columns);
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet, column * data.width, row * data.height, data.width, data.height, 0, 0, width, height);
    const field = data.units[unit.value].field;
    if (!field) return;
    const scale = width / data.width;
    context.translate(field.column * scale, field.row * scale);
    // The first axis of the field points along (cos, sin) in (row, column).
    context.rotate(Math.PI / 2 - field.angle);
    for (const [colour, line] of [["rgba(0,0,0,.55)", 4], [ORANGE, 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.beginPath();
      context.ellipse(0, 0, field.along * scale, field.across * scale, 0, 0, 2 * Math.PI);
      context.stroke();
    }
  };

  const line = (context, values, seconds, x, y, colour, width) => {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.beginPath();
    let pen = false;
    values.forEach((value, i) => {
      if (value === null) { pen = false; return; }
      const at = [x((i + 0.5) * seconds), y(value)];
      if (pen) context.lineTo(...at); else context.moveTo(...at);
      pen = true;
    });
    context.stroke();
  };

  const band = (context, values, spread, seconds, x, y, colour) => {
    context.fillStyle = colour;
    spread.forEach((apart, i) => {
      const value = values[i];
      if (value === null || apart === null) return;
      const top = y(value + apart);
      context.fillRect(x(i * seconds), top, x((i + 1) * seconds) - x(i * seconds), y(value - apart) - top);
    });
  };

  const niceStep = (range) => {
    const rough = range / 4, power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  };

  const drawTraces = () => {
    const width = traces.clientWidth, height = traces.clientHeight;
    const context = fit(traces, width, height);
    const one = data.units[unit.value];
    const binS = data.histogram_bins / data.rate_hz;
    const recorded = summed(one.recorded, data.histogram_bins);
    const all = recorded.concat(one.predicted).filter((v) => v !== null);
    const top = Math.max(...all, data.counts ? 1 : -Infinity), floor = data.counts ? 0 : Math.min(...all);
    const rows = one.spikes.length, raster = rows ? Math.min(4 * rows, 48) + 6 : 0;
    const left = 46, right = width - 8, above = raster + 22, below = height - 34;
    const x = (s) => left + (right - left) * s / duration;
    const y = (v) => below - (below - above) * (v - floor) / (top - floor || 1);
    context.font = "12px system-ui, sans-serif";

    context.fillStyle = GREY;
    one.spikes.forEach((bins, r) => {
      const tall = (raster - 6) / rows;
      for (const bin of bins) context.fillRect(x((bin + 0.5) / data.rate_hz) - 0.6, 18 + r * tall, 1.2, Math.max(tall - 1, 1));
    });

    context.textAlign = "right";
    context.textBaseline = "middle";
    const step = niceStep(top - floor || 1);
    for (let v = Math.ceil(floor / step) * step; v <= top; v += step) {
      context.fillStyle = "#e6e9eb";
      context.fillRect(left, y(v), right - left, 1);
      context.fillStyle = "#5c666d";
      context.fillText(String(+v.toPrecision(3)), left - 6, y(v));
    }
    context.textAlign = "center";
    const second = duration > 3 ? 1 : 0.5;
    for (let s = 0; s <= duration + 1e-9; s += second) {
      context.fillRect(x(s), below, 1, 4);
      context.fillText(String(s), x(s), below + 12);
    }
    context.fillText("time (s)", (left + right) / 2, below + 26);
    context.save();
    context.translate(10, (above + below) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(data.label, 0, 0);
    context.restore();

    if (data.counts) {
      context.fillStyle = "rgba(107,107,107,.35)";
      recorded.forEach((v, i) => {
        if (v !== null) context.fillRect(x(i * binS), y(v), x((i + 1) * binS) - x(i * binS), y(0) - y(v));
      });
    } else {
      line(context, recorded, binS, x, y, GREY, 1.4);
    }
    band(context, one.predicted, one.spread, 1 / data.rate_hz, x, y, "rgba(0,114,178,.25)");
    line(context, one.predicted, 1 / data.rate_hz, x, y, BLUE, 1.8);

    context.textAlign = "left";
    context.fillStyle = GREY;
    context.fillText("recorded", left, 8);
    context.fillStyle = BLUE;
    context.fillText("twin", left + 64, 8);
    context.fillStyle = ORANGE;
    context.fillRect(x(time) - 1, 16, 2, below - 16);
  };

  const draw = () => {
    drawScreen();
    drawTraces();
    clock.value = time.toFixed(2) + " s";
    if (document.activeElement !== scrub || playing) scrub.value = Math.round(1000 * time / duration);
  };

  const tick = (now) => {
    if (!playing) return;
    if (last !== null) time += (now - last) / 1000 * Number(speed.value);
    last = now;
    if (time >= duration) time = 0;
    draw();
    requestAnimationFrame(tick);
  };

  play.addEventListener("click", () => {
    playing = !playing;
    play.textContent = playing ? "Pause" : "Play";
    last = null;
    if (playing) requestAnimationFrame(tick);
  });
  scrub.addEventListener("input", () => { time = Math.min(scrub.value / 1000 * duration, duration - 1e-3); draw(); });
  unit.addEventListener("change", draw);
  window.addEventListener("resize", draw);
  sheet.decode().then(draw);
})();
