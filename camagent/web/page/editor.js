// Zones and privacy masks, drawn on the live picture: by mouse, finger or keyboard. Saved to the agent's overlay file.

import { get, send } from './api.js';
import { byId, fill, h, s, soft } from './dom.js';
import { refusal } from './refusal.js';
import { ANCHORS, MOST_POINTS, freeName, moved, ofKind, point, problem, rectangle, split, toToml, without } from './shapes.js';
import { number, t } from './text.js';

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Editor {
  constructor() {
    this.svg = byId('shapes');
    this.box = byId('editor');
    this.size = [960, 540];
    this.camera = '';
    this.reset();
    this.svg.addEventListener('click', (event) => this.clicked(event));
    document.addEventListener('keydown', (event) => this.drawingKey(event));
  }

  reset() {
    this.shapes = [];
    this.chosen = -1;
    this.open = false;
    this.drawing = null; // {kind, polygon} while corners are being set
    this.dirty = false;
    this.areas = null;
  }

  resize(width, height) {
    this.size = [width, height];
    this.draw();
  }

  async show(camera) {
    if (camera === this.camera) return;
    this.camera = camera;
    this.reset();
    await this.load();
  }

  async load() {
    const { camera } = this;
    try {
      const areas = await get(`/api/cameras/${camera}/areas`);
      if (camera !== this.camera) return;
      this.take(areas);
    } catch (error) {
      fill(this.box, refusal(error));
    }
  }

  take(areas) {
    this.areas = areas;
    this.shapes = [...areas.zone.map((zone) => ({ kind: 'zone', ...zone })), ...areas.mask.map((mask) => ({ kind: 'mask', ...mask }))];
    this.score = areas.filter.min_score;
    this.labels = areas.filter.labels;
    this.chosen = -1;
    this.drawing = null;
    this.dirty = false;
    this.build();
  }

  // -- the panel below the picture

  build() {
    this.draw();
    if (!this.open) {
      const begin = () => {
        this.open = true;
        this.build();
        byId('edit-zone').focus();
        if (!this.areas.labels.length) this.load(); // its model was not open yet
      };
      fill(this.box, h('p', { class: 'row' }, h('button', { id: 'edit-open', click: begin }, t('edit.open')), h('span', { class: 'soft' }, this.summary())));
      return;
    }
    this.state = h('p', { role: 'status', 'aria-live': 'polite', id: 'edit-state' });
    this.errors = h('div', {});
    this.toml = h('pre', { id: 'toml', tabindex: 0, 'aria-label': t('edit.toml') });
    this.list = h('ul', { class: 'shapes' });
    this.closer = h('button', { click: () => this.close() });
    fill(this.box,
      h('h3', {}, t('edit.title')), soft(t('edit.what')),
      h('p', { class: 'row' },
        h('button', { id: 'edit-zone', click: () => this.begin('zone') }, t('edit.zone')), h('button', { id: 'edit-mask', click: () => this.begin('mask') }, t('edit.mask'))),
      this.state, this.list, this.scoreRow(), this.labelRow(),
      h('p', { class: 'row' },
        h('button', { class: 'primary', id: 'edit-save', click: () => this.save(this.change()) }, t('edit.save')),
        this.closer,
        this.areas.overlay.length ? h('button', { click: () => this.save({ zone: null, mask: null, filter: { min_score: null, labels: null } }) }, t('edit.file')) : null),
      this.errors,
      h('details', {}, h('summary', {}, t('edit.toml')), this.toml, h('button', { click: () => this.copy() }, t('edit.copy'))));
    this.rows();
  }

  summary() {
    const count = (kind) => number(this.shapes.filter((shape) => shape.kind === kind).length);
    return t('edit.summary', { zones: count('zone'), masks: count('mask'), labels: this.labels.join(', ') || t('edit.all') });
  }

  scoreRow() {
    const changed = ({ target: { value } }) => {
      this.score = value === '' ? null : Number(value);
      this.touched();
    };
    return h('p', { class: 'row' }, h('label', { for: 'edit-score' }, t('edit.score')),
      h('input', { id: 'edit-score', type: 'number', min: 0, max: 1, step: 0.01, value: this.score === null ? '' : this.score, placeholder: t('edit.score-bundle'), input: changed }));
  }

  // What the model knows, and what else the filter names.
  labelRow() {
    const { labels } = this.areas;
    const all = [...new Set([...labels, ...this.labels])];
    const ticked = (label) => ({ target: { checked } }) => {
      this.labels = all.filter((other) => (other === label ? checked : this.labels.includes(other)));
      this.touched();
    };
    return all.length ? h('fieldset', { id: 'edit-labels' }, h('legend', {}, t('edit.labels')), all.map((label) => h('label', {},
      h('input', { type: 'checkbox', checked: this.labels.includes(label), change: ticked(label) }), label, labels.includes(label) ? null : h('b', {}, t('edit.strange'))))) : null;
  }

  filter() {
    return { min_score: this.score, labels: this.labels };
  }

  touched() {
    this.dirty = true;
    this.tell();
  }

  tell() {
    this.toml.textContent = toToml(this.shapes, this.filter()) || t('edit.empty');
    this.closer.textContent = t(this.dirty ? 'edit.discard' : 'edit.close');
  }

  rows() {
    fill(this.list, this.shapes.map((shape, index) => h('li', { class: index === this.chosen ? 'chosen' : '' },
      h('span', { class: `dot ${shape.kind}`, 'aria-hidden': 'true' }), h('span', {}, t(`edit.kind.${shape.kind}`)),
      h('input', { value: shape.name, 'aria-label': t('edit.name'), maxlength: 48, spellcheck: 'false', input: (event) => this.put(index, { name: event.target.value }), focus: () => this.choose(index) }),
      shape.kind === 'zone' ? h('select', { 'aria-label': t('edit.anchor'), change: (event) => this.put(index, { anchor: event.target.value }) }, ANCHORS.map((anchor) => h('option', { value: anchor, selected: anchor === shape.anchor }, t(`anchor.${anchor}`)))) : null,
      h('button', { click: () => this.remove(index), 'aria-label': t('edit.remove-this', { name: shape.name }) }, t('edit.remove')))));
    this.tell();
  }

  choose(index) {
    if (this.chosen === index) return;
    this.chosen = index;
    [...this.list.children].forEach((row, at) => row.classList.toggle('chosen', at === index));
    this.draw();
  }

  put(index, change) {
    this.shapes = this.shapes.map((shape, at) => (at === index ? { ...shape, ...change } : shape));
    this.touched();
    this.draw();
  }

  remove(index) {
    this.shapes = this.shapes.filter((_, at) => at !== index);
    this.chosen = -1;
    this.dirty = true;
    this.rows();
    this.draw();
    byId('edit-zone').focus();
  }

  close() {
    this.open = false;
    this.drawing = null;
    if (this.dirty) this.take(this.areas);
    else this.build();
    byId('edit-open').focus();
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.toml.textContent);
      this.state.textContent = t('edit.copied');
    } catch {
      getSelection().selectAllChildren(this.toml); // over plain http there is no clipboard: Ctrl-C does it
      this.state.textContent = t('edit.selected');
    }
  }

  change() {
    const changed = (made, old) => Object.fromEntries(Object.entries(made).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(old[key])));
    const shapes = { zone: ofKind(this.shapes, 'zone'), mask: ofKind(this.shapes, 'mask') };
    return { ...changed(shapes, this.areas), filter: changed(this.filter(), this.areas.filter) };
  }

  async save(change) {
    const wrong = problem(this.shapes);
    fill(this.errors, wrong && change.zone !== null ? h('p', { class: 'box fail', role: 'alert' }, t(...wrong)) : null);
    if (wrong && change.zone !== null) return;
    this.state.textContent = t('edit.saving');
    try {
      const areas = await send('PUT', `/api/cameras/${this.camera}/areas`, JSON.stringify({ base: this.areas.base, ...change }));
      this.take(areas);
      this.state.textContent = t('edit.saved');
      byId('edit-save').focus(); // the button that was pressed is gone
    } catch (error) {
      this.state.textContent = '';
      fill(this.errors, refusal(error), error.code === 'OVERLAY_CHANGED' ? h('button', { click: () => this.load() }, t('edit.again')) : null);
    }
  }

  // -- on the picture

  begin(kind) {
    this.drawing = { kind, polygon: [] };
    this.chosen = -1;
    this.state.textContent = t('edit.drawing');
    this.draw();
    byId('stage').scrollIntoView({ block: 'nearest' });
  }

  drawingKey(event) {
    if (!this.drawing) return;
    const other = event.target.closest('input, select, summary, a, button:not(#edit-zone, #edit-mask)'); // they mean Enter for themselves
    if (event.key === 'Escape') {
      this.drawing = null;
      this.state.textContent = '';
      this.draw();
    } else if (event.key === 'Enter' && !other) {
      event.preventDefault();
      this.finish();
    }
  }

  finish() {
    const { kind, polygon } = this.drawing;
    if (polygon.length > 0 && polygon.length < 3) return;
    const shape = { kind, name: freeName(kind, this.shapes), polygon: polygon.length ? polygon : rectangle(), ...(kind === 'zone' ? { anchor: ANCHORS[0] } : {}) };
    this.shapes = [...this.shapes, shape];
    this.chosen = this.shapes.length - 1;
    this.drawing = null;
    this.dirty = true;
    this.state.textContent = t('edit.drawn', { name: shape.name });
    this.rows();
    this.draw();
    this.svg.querySelector('[data-point="0"]').focus();
  }

  at(event) {
    const { left, top, width, height } = this.svg.getBoundingClientRect();
    return point((event.clientX - left) / width, (event.clientY - top) / height);
  }

  clicked(event) {
    if (!this.drawing) return;
    const to = this.at(event);
    const [first] = this.drawing.polygon;
    const closes = first && this.drawing.polygon.length > 2 && Math.hypot(first[0] - to[0], first[1] - to[1]) < 0.03;
    if (closes) this.finish();
    else if (this.drawing.polygon.length < MOST_POINTS) {
      this.drawing.polygon.push(to);
      this.draw();
    }
  }

  draw() {
    const [width, height] = this.size;
    const unit = this.unit();
    const px = (corner) => [corner[0] * width, corner[1] * height];
    const corners = (polygon) => polygon.map((corner) => px(corner).join(',')).join(' ');
    const drawn = this.shapes.map((shape, index) => s('g', { class: `${shape.kind}${index === this.chosen ? ' chosen' : ''}`, 'data-shape': shape.name },
      s('polygon', { points: corners(shape.polygon), click: () => this.open && !this.drawing && this.choose(index) }),
      shape.polygon.length ? s('text', { x: px(shape.polygon[0])[0] + 8 * unit, y: px(shape.polygon[0])[1] + 20 * unit, 'font-size': 15 * unit }, shape.name) : null));
    const handles = this.open && this.chosen >= 0 ? this.shapes[this.chosen].polygon.map((corner, index) => this.handle(corner, index)) : [];
    const pending = this.drawing ? [s('polyline', { class: 'pending', points: corners(this.drawing.polygon) }), this.drawing.polygon.map((corner) => s('circle', { class: 'pending', cx: px(corner)[0], cy: px(corner)[1], r: 6 * unit }))] : [];
    const kept = document.activeElement && this.svg.contains(document.activeElement) ? document.activeElement.dataset.point : null;
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.setAttribute('class', this.drawing ? 'drawing' : this.open ? 'open' : '');
    fill(this.svg, drawn, pending, handles);
    if (kept !== null && kept !== undefined) this.svg.querySelector(`[data-point="${kept}"]`)?.focus();
  }

  // Picture pixels in a pixel of the screen: what is drawn on the picture is as large on a phone as on a desk.
  unit() {
    return this.size[0] / (this.svg.clientWidth || this.size[0]);
  }

  handle(corner, index) {
    const [width, height] = this.size;
    const unit = this.unit();
    const shape = this.shapes[this.chosen];
    const where = { name: shape.name, index: number(index + 1), of: number(shape.polygon.length), x: number(corner[0] * 100, 1), y: number(corner[1] * 100, 1) };
    const at = { cx: corner[0] * width, cy: corner[1] * height };
    return s('g', { class: 'handle', tabindex: 0, role: 'button', 'aria-label': t('edit.point', where), 'data-point': index, keydown: (event) => this.pointKey(event, index), pointerdown: (event) => this.drag(event, index) },
      s('circle', { class: 'touch', ...at, r: 22 * unit }), s('circle', { class: 'knob', ...at, r: 8 * unit }));
  }

  corners(polygon) {
    this.put(this.chosen, { polygon });
  }

  pointKey(event, index) {
    const { polygon } = this.shapes[this.chosen];
    const way = KEYS[event.key];
    if (way) {
      const far = event.shiftKey ? 0.002 : 0.01;
      this.corners(moved(polygon, index, [polygon[index][0] + way[0] * far, polygon[index][1] + way[1] * far]));
    } else if ((event.key === 'Delete' || event.key === 'Backspace') && polygon.length > 3) {
      this.corners(without(polygon, index));
      this.svg.querySelector(`[data-point="${Math.max(0, index - 1)}"]`).focus();
    } else if ((event.key === '+' || event.key === 'Insert') && polygon.length < MOST_POINTS) {
      this.corners(split(polygon, index));
      this.svg.querySelector(`[data-point="${index + 1}"]`).focus();
    } else return;
    event.preventDefault();
  }

  // Listens on the drawing as a whole: the handle itself is drawn anew while it moves.
  drag(event, index) {
    event.preventDefault();
    event.currentTarget.focus();
    const move = (at) => this.corners(moved(this.shapes[this.chosen].polygon, index, this.at(at)));
    const over = new AbortController();
    const end = () => over.abort();
    for (const [name, does] of [['move', move], ['up', end], ['cancel', end]]) addEventListener(`pointer${name}`, does, over);
  }
}
