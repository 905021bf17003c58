// What /api/status says of one camera, in words.

import { byId, facts, h, mark, refill, soft, todo } from './dom.js';
import { has, number, t } from './text.js';

const GOOD = new Set(['healthy-empty']);
const WAIT = new Set(['starting', 'disabled-by-request', 'all-filtered-by-zone', 'masked']);

export function tone(camera) {
  if (!camera.reason) return camera.state === 'running' ? 'pass' : 'warn';
  if (GOOD.has(camera.reason)) return 'pass';
  return WAIT.has(camera.reason) ? 'warn' : 'fail';
}

const words = (prefix, code) => (code && has(`${prefix}.${code}`) ? t(`${prefix}.${code}`) : '');

// A refusal's own sentence stands in `detail` as CODE: sentence (fix).
export function health(camera) {
  const status = tone(camera);
  const title = camera.reason ? words('reason', camera.reason) || camera.reason : t(`state.${camera.state}`);
  const fix = words('do', camera.reason);
  const age = camera.frame_age === null ? t('health.no-frame') : t('health.age', { seconds: number(camera.frame_age, 1) });
  refill(
    byId('health'),
    h('p', { class: `verdict ${status}`, 'data-reason': camera.reason || 'none' }, mark(status), ` ${title}`),
    camera.detail ? h('p', {}, camera.detail) : null,
    fix ? todo(fix) : null,
    soft(`${t('health.fps', { fps: number(camera.fps, 1) })} · `, age),
  );
}

export function model(camera, status) {
  const box = byId('model');
  const found = camera.model;
  const expires = status.trust && status.trust.expires;
  const root = status.trust && status.trust.root;
  const trust = root ? t('model.root', { number: root, date: new Date(expires * 1000).toLocaleDateString() }) : t('model.no-root');
  if (!found) {
    refill(box, h('p', {}, t('model.none')), facts([[t('model.trust'), trust]]));
    return;
  }
  const signed = found.signature === 'verified';
  const trial = Object.entries(status.bundles || {}).find(([name, slots]) => name === found.name && slots.trial);
  refill(
    box,
    h('p', { class: 'big' }, `${found.name} ${found.version}`),
    h('p', { class: signed ? 'pass' : 'warn' }, mark(signed ? 'pass' : 'warn'), ` ${t(`model.${found.signature}`)}`),
    trial ? h('p', { class: 'warn' }, mark('warn'), ` ${t('model.trial')}`) : null,
    (found.warnings || []).map((warning) => h('p', { class: 'warn' }, warning)),
    facts([[t('model.backend'), found.backend], [t('model.trust'), trust], [t('model.warning'), status.trust && status.trust.warning]]),
  );
}

// What stands in the way before anything can be seen, most upstream first; each with what to do.
export function hints(status) {
  const made = [];
  const agent = status.agent || {};
  const root = status.trust && status.trust.root;
  const unsigned = agent.allow_unsigned;
  if (!root && !unsigned) made.push(['no-root', 'camagent trust install root.json -c camagent.toml']);
  if (!(status.cameras || []).length) {
    made.push(['no-camera', '[[camera]]\nname = "front"\nurl = "rtsp://192.168.1.20/stream2"\nbundle = "fastestdet"']);
  }
  if (unsigned) made.push(['unsigned', '']);
  if (agent.config && agent.config.error) made.push(['config', agent.config.error]);
  const { hawkbit, tuf } = agent.fleet || {};
  for (const [id, one] of [['mqtt', agent.mqtt], ['fleet', hawkbit], ['fleet', tuf && tuf.problem]]) {
    if (one && one.code) made.push([id, [one.what || one.detail, one.fix].filter(Boolean).join('\n')]);
  }
  refill(
    byId('hints'),
    made.map(([id, code]) =>
      h('div', { class: `card hint ${id}` }, h('p', {}, h('b', {}, t(`hint.${id}.title`)), ` ${t(`hint.${id}.text`)}`), code ? h('pre', {}, code) : null),
    ),
  );
}
