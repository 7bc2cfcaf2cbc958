// The viewer's section: NiiVue is unpacked and run on the reader's click, then shows one case at a time.
(() => {
  "use strict";
  const element = (id) => document.getElementById(`viewer-${id}`);
  const cases = JSON.parse(element("facts").textContent);
  const PRESETS = { "soft tissue": [-160, 240], lung: [-1150, 350], bone: [-450, 1050] };
  const MOVES = { // by voxels to the patient's right, front and head: the picture shows right on its left
    ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1],
  };
  const TURNS = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
  // A slice: grey image, fills, then outlines 2 pixels wide: the prediction's solid, the reference's dashed white as in
  // the pictures. The reference is NiiVue's "drawing", the prediction its "overlay"; their labels are fetched, not
  // interpolated, so that a voxel looks like what it is. The reference comes half white, as fills and 3D show it; its
  // outline takes that white out again.
  const SLICE_SHADER = `#version 300 es
    precision highp int;
    precision highp float;
    uniform highp sampler3D volume;
    uniform highp sampler3D overlay;
    uniform highp sampler3D drawing;
    uniform highp sampler2D colormap;
    uniform float opacity;
    uniform float drawRimOpacity;
    uniform float overlayAlphaShader;
    in vec3 texPos;
    out vec4 color;
    bool isOutside(vec3 p) { return any(lessThan(p, vec3(0.0))) || any(greaterThanEqual(p, vec3(1.0))); }
    vec4 predictionAt(vec3 p) {
      if (isOutside(p)) return vec4(0.0);
      vec4 found = texelFetch(overlay, ivec3(p * vec3(textureSize(overlay, 0))), 0);
      return found.a > 0.0 ? vec4(found.rgb, 1.0) : vec4(0.0);
    }
    vec4 referenceAt(vec3 p) {
      if (isOutside(p)) return vec4(0.0);
      float number = texelFetch(drawing, ivec3(p * vec3(textureSize(drawing, 0))), 0).r * 255.0;
      return texelFetch(colormap, ivec2(int(number + 0.5), textureSize(colormap, 0).y - 1), 0);
    }
    void main(void) {
      vec3 x = dFdx(texPos) * 2.0, y = dFdy(texPos) * 2.0;
      vec4 predicted = predictionAt(texPos), expected = referenceAt(texPos);
      bool isPredictedEdge = predicted != predictionAt(texPos + x) || predicted != predictionAt(texPos - x)
        || predicted != predictionAt(texPos + y) || predicted != predictionAt(texPos - y);
      bool isExpectedEdge = expected != referenceAt(texPos + x) || expected != referenceAt(texPos - x)
        || expected != referenceAt(texPos + y) || expected != referenceAt(texPos - y);
      bool isFilled = drawRimOpacity < 0.0;
      bool isDash = mod(floor((gl_FragCoord.x + gl_FragCoord.y) / 6.0), 2.0) < 1.0;
      color = vec4(texture(volume, texPos).rgb, opacity);
      vec4 fill = predicted;
      if (isFilled && expected.a > 0.0) fill = predicted.a > 0.0 ? mix(predicted, expected, 0.5) : expected;
      color.rgb = mix(color.rgb, fill.rgb, fill.a * overlayAlphaShader);
      if (isFilled) return;
      if (isExpectedEdge && expected.a > 0.0) color.rgb = isDash ? vec3(1.0) : expected.rgb * 2.0 - 1.0;
      else if (isPredictedEdge && predicted.a > 0.0) color.rgb = predicted.rgb;
    }`;

  let nv = null; // the one NiiVue, with the one WebGL context
  let shown = null; // the case on display: its facts, the number of it, and the classes of both label volumes

  const checked = (id) => element(id).checked;
  const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

  function complain(sentence) {
    element("problem").textContent = sentence;
    element("problem").hidden = false;
  }

  async function unpackNiivue() {
    const packed = bytesOf(element("packed").textContent);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script"); // admitted by the hash of its text
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.niivue;
  }

  async function start() {
    const canvas = element("canvas");
    if (!canvas.getContext("webgl2", { alpha: true, antialias: true })) {
      throw new Error("this browser offers no WebGL 2, which the viewer draws with; the pictures above need none of it");
    }
    const { Niivue, DRAG_MODE, SLICE_TYPE, SHOW_RENDER } = await unpackNiivue();
    nv = new Niivue({
      dragAndDropEnabled: false, logLevel: "error", isRadiologicalConvention: true, sagittalNoseLeft: true,
      dragMode: DRAG_MODE.windowing, multiplanarShowRender: SHOW_RENDER.ALWAYS, multiplanarPadPixels: 4,
      show3Dcrosshair: false, crosshairColor: [1, 0.85, 0.2, 0.75], crosshairWidth: 0.3, crosshairWidthUnit: "percent", crosshairGap: 3,
      isOrientCube: true, fontColor: [0.85, 0.85, 0.85, 1], yoke3Dto2DZoom: false,
    });
    nv.views = { axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, slices: SLICE_TYPE.MULTIPLANAR, "3d": SLICE_TYPE.RENDER };
    nv.drags = { crosshair: DRAG_MODE.crosshair, windowing: DRAG_MODE.windowing, pan: DRAG_MODE.pan };
    await nv.attachToCanvas(canvas, true);
    nv.drawOpacity = 1; // of the reference in 3D, whatever the fill in slices
    hideImageIn3d();
    letterFlatImages();
    nv.setCustomSliceShader(SLICE_SHADER);
    nv.onLocationChange = (location) => tell(location.mm);
    nv.onIntensityChange = showWindow;
  }

  function hideImageIn3d() { // the body would stand before its organs
    const refresh = nv.refreshLayers;
    nv.refreshLayers = (...layer) => {
      refresh.apply(nv, layer);
      nv.renderShader.use(nv.gl);
      nv.gl.uniform1f(nv.renderShader.uniforms.backOpacity, 0);
    };
  }

  function letterFlatImages() { // sides only, as in the pictures: whether front or head is up, an image does not tell
    const letter = nv.drawSliceOrientationText;
    nv.drawSliceOrientationText = (place, plane, ...padding) => {
      if (!isFlat()) return letter.call(nv, place, plane, ...padding);
      const [left, top, width, height] = place;
      const sides = nv.views.sagittal === plane ? "AP" : "RL";
      nv.drawTextRight([left + 4, top + height / 2], sides[0]);
      nv.drawTextLeft([left + width - 4, top + height / 2], sides[1]);
    };
  }

  async function open(number, organ) {
    element("case").value = number;
    element("body").hidden = false;
    element("problem").hidden = true;
    element("open").hidden = true;
    delete element("body").dataset.shown;
    try {
      if (!nv) await (open.started ??= start());
      await show(number);
      goTo(shown.facts.organs.find(({ name }) => name === organ) ?? shown.facts.organs[0]);
      element("body").dataset.shown = shown.facts.case_id;
    } catch (error) {
      element("body").hidden = true;
      complain(`The viewer could not be opened: ${error.message}.`);
    }
  }

  async function load(number, layer, options) {
    const { NVImage } = window.niivue;
    return NVImage.loadFromBase64({ base64: element(`${number}-${layer}`).textContent, name: `${layer}.nii.gz`, ...options });
  }

  async function show(number) {
    const facts = cases[number];
    const [low, high] = facts.window ?? [1e6, 2e6]; // without an image: black
    const grey = { colormap: "gray", cal_min: low, cal_max: high };
    const image = await load(number, facts.window ? "image" : "prediction", grey);
    const [reference, prediction] = await Promise.all([load(number, "reference"), load(number, "prediction")]);
    nv.isBusy = true; // nothing is drawn until all is in place
    for (const volume of [...nv.volumes]) nv.removeVolume(volume);
    shown = { number, facts, reference, prediction, classes: [reference.img, prediction.img] };
    prediction.setColormapLabel(colours(() => true));
    nv.addVolume(image);
    nv.addVolume(prediction);
    if (facts.organs.length > 255) reference.img = Uint8Array.from(reference.img, drawn);
    nv.loadDrawing(reference);
    listOrgans();
    reset();
    nv.isBusy = false;
    nv.drawScene();
    element("grid").textContent = gridOf(facts);
  }

  function gridOf(facts) {
    const size = (numbers) => numbers.map((x) => Number(x.toFixed(2))).join(" × ");
    const steps = facts.spacing_mm.map((mm, axis) => mm / facts.source_spacing_mm[axis]);
    if (isFlat() && steps.some((step) => step > 1)) {
      return `To keep the page small, a pixel here is ${size(inPlane(steps))} pixels of the image; values are means over them.`;
    }
    if (`${facts.spacing_mm}` !== `${facts.source_spacing_mm}`) {
      return `To keep the page small, voxels are ${size(facts.spacing_mm)} mm here and ${size(facts.source_spacing_mm)} mm in the case; values are means over them.`;
    }
    return `${facts.size}` === `${facts.source_size}` ? "" : "To keep the page small, only the organs and what lies around them are shown.";
  }

  const isFlat = () => shown.facts.source_size.includes(1); // a 2D image has one plane to look at
  const inPlane = (numbers) => numbers.filter((_, axis) => axis !== shown.facts.source_size.lastIndexOf(1));
  const drawn = (number) => (number ? 1 + ((number - 1) % 255) : 0); // NiiVue's drawings have 255 colours

  function colours(isVisible, tone = (shade) => shade) {
    const organs = shown.facts.organs;
    const channel = (index) => [0, ...organs.map(({ color }) => tone(color[index]))];
    const A = [0, ...organs.map((_, index) => (isVisible(index + 1) ? 255 : 0))];
    return { R: channel(0), G: channel(1), B: channel(2), A, I: A.map((_, index) => index), labels: ["", ...organs.map(({ name }) => name)] };
  }

  function drawLayers() {
    const boxes = [...element("organs").querySelectorAll("input[data-class]")];
    const wanted = new Set(boxes.filter((box) => box.checked).map((box) => Number(box.dataset.class)));
    const lut = colours((number) => checked("reference") && wanted.has(number), (shade) => (shade + 255) / 2);
    for (const key of ["R", "G", "B", "A", "I", "labels"]) lut[key] = lut[key].slice(0, 256);
    nv.drawLut = window.niivue.cmapper.makeDrawLut(lut);
    const isVisible = shown.facts.organs.map((_, index) => checked("prediction") && wanted.has(index + 1));
    shown.prediction.img = shown.classes[1].map((number) => (number && isVisible[number - 1] ? number : 0));
    nv.updateGLVolume();
    drawStyle();
  }

  function drawStyle() {
    nv.overlayAlphaShader = Number(element("fill").value);
    nv.drawRimOpacity = element("style").value === "fills" ? -1 : 1;
    nv.drawScene();
  }

  function listOrgans() {
    const rows = shown.facts.organs.map(({ name, color }, index) => {
      const row = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
      box.dataset.class = index + 1;
      const swatch = Object.assign(document.createElement("span"), { className: "viewer-swatch" });
      swatch.style.background = `rgb(${color.join(" ")})`;
      row.append(box, swatch, name);
      return row;
    });
    if (rows.length > 1) {
      const all = document.createElement("label");
      all.append(Object.assign(document.createElement("input"), { type: "checkbox", checked: true, id: "viewer-all" }), "all");
      rows.unshift(all);
    }
    element("organs").replaceChildren(...rows);
  }

  function listPresets() {
    const { facts } = shown;
    const names = ["as opened", ...(facts.is_ct ? Object.keys(PRESETS) : []), "by hand"];
    element("preset").replaceChildren(...names.map((name) => new Option(name)));
    element("window").hidden = facts.window === null;
    const [least, greatest] = [nv.volumes[0].global_min, nv.volumes[0].global_max];
    const step = greatest - least > 500 ? 1 : (greatest - least) / 500;
    Object.assign(element("level"), { min: least, max: greatest, step });
    Object.assign(element("width"), { min: step, max: greatest - least, step });
  }

  function setWindow([low, high]) {
    Object.assign(nv.volumes[0], { cal_min: low, cal_max: high });
    nv.refreshLayers(nv.volumes[0], 0);
    nv.drawScene();
    showWindow(nv.volumes[0]);
  }

  function showWindow({ cal_min: low, cal_max: high }) {
    const round = (x) => (Math.abs(x) >= 100 || Number.isInteger(x) ? x.toFixed(0) : x.toPrecision(3)).replace("-", "−");
    const known = { "as opened": shown.facts.window, ...PRESETS };
    const name = [...element("preset").options].find(({ value }) => known[value]?.[0] === low && known[value]?.[1] === high);
    element("preset").value = name?.value ?? "by hand";
    for (const [id, value] of [["level", (low + high) / 2], ["width", high - low]]) {
      element(id).value = value;
      element(`${id}-value`).textContent = round(value);
    }
  }

  function reset() {
    for (const box of element("body").querySelectorAll("input[type=checkbox]")) box.checked = true;
    element("fill").value = 0.25;
    element("style").value = "outlines";
    element("drag").value = "crosshair";
    nv.opts.dragModePrimary = nv.drags.crosshair;
    element("body").toggleAttribute("data-flat", isFlat());
    for (const radio of element("body").querySelectorAll("input[name=viewer-view]")) {
      radio.parentElement.hidden = isFlat() !== (radio.value === "image");
    }
    nv.views.image = [nv.views.sagittal, nv.views.coronal, nv.views.axial][nv.volumes[0].dimsRAS.lastIndexOf(1) - 1];
    setView(isFlat() ? "image" : "slices");
    nv.setPan2Dxyzmm([0, 0, 0, 1]);
    nv.setScale(1);
    nv.setRenderAzimuthElevation(160, 10);
    listPresets();
    if (shown.facts.window) setWindow(shown.facts.window);
    drawLayers();
    goTo(shown.facts.organs[0]);
  }

  function setView(name) {
    element("body").querySelector(`input[name=viewer-view][value="${name}"]`).checked = true;
    nv.setSliceType(nv.views[name]);
  }

  function goTo(organ) {
    nv.scene.crosshairPos = organ ? nv.mm2frac(organ.inside_mm, 0, true) : [0.5, 0.5, 0.5];
    nv.createOnLocationChange();
    nv.drawScene();
  }

  function tell(mm) {
    const [image] = nv.volumes;
    const voxel = image.mm2vox([...mm]);
    const parts = [isFlat() ? pixelAt(mm) : positionAt(mm)];
    if (shown.facts.window) {
      const value = image.getValue(...voxel);
      parts.push(shown.facts.is_ct ? `${value.toFixed(0).replace("-", "−")} HU` : `value ${Number(value.toPrecision(4))}`);
    }
    const names = [shown.reference, shown.prediction].map((volume, index) => organAt(volume, shown.classes[index], voxel));
    parts.push(`reference: ${names[0]}`, `prediction: ${names[1]}`);
    element("status").textContent = parts.join(" · ");
  }

  function positionAt(mm) {
    const sides = ["LR", "PA", "IS"].map((ends, axis) => `${ends[Number(mm[axis] >= 0)]} ${Math.abs(mm[axis]).toFixed(1)}`);
    return `${sides.join("  ")} mm`;
  }

  function pixelAt(mm) { // of the image as it is in its file, counted from 0
    const { voxel_of_mm: rows, source_size: size } = shown.facts;
    const voxel = rows.map(([x, y, z, origin], axis) => {
      const index = Math.round(x * mm[0] + y * mm[1] + z * mm[2] + origin);
      return Math.min(Math.max(index, 0), size[axis] - 1);
    });
    const [x, y] = inPlane(voxel);
    return `x ${x}, y ${y}`;
  }

  function organAt(volume, classes, voxel) {
    const drawnNow = volume.img; // organs switched off are not in it
    volume.img = classes;
    const number = volume.getValue(...voxel);
    volume.img = drawnNow;
    return number ? shown.facts.organs[number - 1].name : "none";
  }

  function onPointer(event) {
    if (!shown || event.buttons) return; // while dragging, NiiVue tells
    const { left, top } = element("canvas").getBoundingClientRect();
    const place = [(event.clientX - left) * nv.uiData.dpr, (event.clientY - top) * nv.uiData.dpr];
    const fraction = nv.canvasPos2frac(place);
    if (fraction[0] >= 0) tell(nv.frac2mm(fraction, 0, true));
  }

  function onKey(event) {
    event.stopPropagation(); // NiiVue has keys of its own
    if (!shown || event.type !== "keydown" || event.ctrlKey || event.altKey || event.metaKey) return;
    const is3d = nv.opts.sliceType === nv.views["3d"];
    if (is3d && TURNS[event.key]) {
      const [azimuth, elevation] = TURNS[event.key];
      nv.setRenderAzimuthElevation(nv.scene.renderAzimuth + azimuth, nv.scene.renderElevation + elevation);
    } else if (MOVES[event.key]) nv.moveCrosshairInVox(...MOVES[event.key]);
    else if (event.key === "r") element("reference").click();
    else if (event.key === "p") element("prediction").click();
    else if (event.key === "0") reset();
    else return;
    event.preventDefault();
  }

  function onInput({ target }) {
    if (!shown) return;
    const { id } = target;
    if (target.name === "viewer-view") setView(target.value);
    else if (id === "viewer-drag") nv.opts.dragModePrimary = nv.drags[target.value];
    else if (id === "viewer-fill" || id === "viewer-style") drawStyle();
    else if (id === "viewer-preset") setWindow({ "as opened": shown.facts.window, ...PRESETS }[target.value] ?? [nv.volumes[0].cal_min, nv.volumes[0].cal_max]);
    else if (id === "viewer-level" || id === "viewer-width") {
      const [level, width] = [Number(element("level").value), Number(element("width").value)];
      setWindow([level - width / 2, level + width / 2]);
    } else if (target.type === "checkbox") {
      const boxes = [...element("organs").querySelectorAll("input[data-class]")];
      if (id === "viewer-all") for (const box of boxes) box.checked = target.checked;
      else if (element("all")) element("all").checked = boxes.every((box) => box.checked);
      drawLayers();
    }
  }

  element("open").addEventListener("click", () => open(Number(element("case").value)));
  element("case").addEventListener("change", () => shown && open(Number(element("case").value)));
  element("reset").addEventListener("click", () => shown && reset());
  element("body").addEventListener("input", onInput);
  const stage = element("canvas").parentElement;
  for (const type of ["keydown", "keyup"]) stage.addEventListener(type, onKey, { capture: true });
  stage.addEventListener("pointermove", onPointer);
  stage.addEventListener("pointerleave", () => shown && tell(nv.frac2mm(nv.scene.crosshairPos, 0, true)));
  document.addEventListener("click", (event) => { // buttons anywhere in the page that open a case
    const button = event.target.closest("[data-view-case]");
    const number = button ? cases.findIndex((facts) => facts.case_id === button.dataset.viewCase) : -1;
    if (number < 0) return;
    document.getElementById("viewer").scrollIntoView();
    open(number, button.dataset.viewOrgan);
  });
})();
