// The live picture. It is asked for only while this page is in front of somebody.

import { frames } from './api.js';
import { byId, fill, h } from './dom.js';
import { number, t } from './text.js';

export function foundWords(item) {
  if (item.count !== undefined) return `${item.label} ${number(item.count)}`;
  if (item.share !== undefined) return `${item.label} ${number(item.share * 100, 1)} %`;
  return `${item.label} ${number(item.score, 2)}`;
}

export class Live {
  constructor(onSize) {
    this.canvas = byId('live');
    this.found = byId('found');
    this.empty = byId('live-empty');
    this.toggle = byId('live-toggle');
    this.onSize = onSize;
    this.camera = '';
    this.wanted = true;
    this.stopper = null;
    this.toggle.addEventListener('click', () => {
      this.wanted = !this.wanted;
      this.follow();
    });
    document.addEventListener('visibilitychange', () => this.follow());
  }

  show(camera) {
    if (camera === this.camera) return;
    this.camera = camera;
    this.stop();
    this.canvas.dataset.frames = '0';
    this.resize(960, 540); // also clears it: another camera's shape and picture are not this one's
    fill(this.found);
    this.canvas.setAttribute('aria-label', t('live.alt', { camera, found: t('live.none') }));
    this.say(t('live.none'));
    this.follow();
  }

  follow() {
    this.toggle.textContent = t(this.wanted ? 'live.pause' : 'live.go');
    if (this.wanted && this.camera && !document.hidden) this.start();
    else this.stop();
  }

  stop() {
    if (this.stopper) this.stopper.abort();
    this.stopper = null;
  }

  async start() {
    if (this.stopper) return;
    const stopper = new AbortController();
    this.stopper = stopper;
    while (this.stopper === stopper) {
      try {
        for await (const frame of frames(`/api/cameras/${this.camera}/live`, stopper.signal)) await this.draw(frame);
      } catch (error) {
        if (this.stopper !== stopper) return;
        if (error.status === 409) this.say(t('live.crowded'));
      }
      await new Promise((wake) => setTimeout(wake, 2000));
    }
  }

  async draw({ facts, jpeg }) {
    const bitmap = await createImageBitmap(jpeg);
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) this.resize(bitmap.width, bitmap.height);
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    bitmap.close();
    canvas.dataset.frames = String(Number(canvas.dataset.frames || 0) + 1);
    canvas.dataset.found = JSON.stringify(facts.found);
    this.say('');
    this.tell(facts);
  }

  resize(width, height) {
    Object.assign(this.canvas, { width, height });
    this.onSize(width, height);
  }

  tell(facts) {
    const words = facts.found.map(foundWords);
    const nothing = t(facts.looked ? 'found.nothing' : 'found.unseen');
    fill(this.found, words.length ? words.map((word) => h('span', { class: 'chip' }, word)) : h('span', { class: 'soft' }, nothing));
    const alt = t('live.alt', { camera: this.camera, found: words.join(', ') || nothing });
    if (this.canvas.getAttribute('aria-label') !== alt) this.canvas.setAttribute('aria-label', alt);
  }

  say(words) {
    this.empty.textContent = words;
    this.empty.hidden = !words;
  }
}
