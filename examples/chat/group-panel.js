/** The window of a group: who is in it, what it is called, and what one may do there. */
import { avatar, byId, make, place } from './dom.js';
import { button, sureButton } from './message-view.js';
import { groupText, roleText } from './words.js';

/**
 * @typedef {import('qalgate/sdk/im/groups').Groups} Groups
 * @typedef {import('qalgate/sdk/im/groups').GroupCache} GroupCache
 * @typedef {import('qalgate/sdk/im/groups').CachedGroup} CachedGroup
 * @typedef {import('qalgate/sdk/im/groups').GroupMember} GroupMember
 */

const muteSec = 3_600;

/**
 * @param {Groups} groups
 * @param {GroupCache} cache
 * @param {{
 *   account: string,
 *   attempt: (run: () => Promise<unknown>, tell: (text: string) => void) => Promise<boolean>,
 *   invite: (group: string, names: string, tell: (text: string) => void) => Promise<boolean>,
 * }} deps `attempt`: does something, and says it if it is refused
 */
export function createGroupPanel(groups, cache, { account, attempt, invite }) {
  const panel = /** @type {HTMLDialogElement} */ (byId('group'));
  const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));
  const receive = /** @type {HTMLSelectElement} */ (byId('receive'));
  /** Whose window is open. @type {string | undefined} */
  let shown;

  const tell = (/** @type {string} */ text) => {
    byId('group-error').textContent = text;
  };

  /** Does something with the open group. Not everything is told to those who did it: what is shown is asked for again. @param {(group: string) => Promise<unknown>} run */
  async function act(run) {
    const group = shown;
    if (group === undefined) return false;
    tell('');
    const isDone = await attempt(() => run(group), tell);
    await cache.refresh(group).catch(() => {});
    await draw();
    return isDone;
  }

  async function draw() {
    const group = shown === undefined ? undefined : cache.groups.get(shown);
    if (group === undefined) return;
    const members = await cache.members(group.group).catch(() => []);
    if (group.group !== shown) return;
    const me = members.find((member) => member.account === account);
    const isManager = me?.role === 'Owner' || me?.role === 'Admin';
    const isPrivate = group.type === 'Private';
    const isAudience = group.type === 'AVChatRoom';
    byId('group-title').textContent = group.name;
    byId('group-about').replaceChildren(`${groupText(group)}. Its id: `, make('code', {}, group.group));
    for (const id of ['renaming', 'announcing']) byId(id).hidden = !isManager && !isPrivate;
    byId('announcement').textContent = isManager || isPrivate ? '' : group.notification;
    byId('inviting').hidden = isAudience || (!isManager && !isPrivate);
    // Nothing is noted of those who only watch.
    for (const id of ['self', 'hearing']) byId(id).hidden = isAudience && !isManager;
    // What one is writing stays.
    const drafts = { rename: group.name, announce: group.notification, card: me?.nameCard ?? '' };
    for (const [id, text] of Object.entries(drafts)) if (document.activeElement?.id !== id) field(id).value = text;
    receive.value = me?.receive ?? 'AcceptAndNotify';
    drawMembers(group, members, me);
    place(byId('group-all'), group.muted || (isManager && !isPrivate) ? muteAll(group, isManager) : []);
    place(byId('group-end'), ending(group, me));
  }

  /** Where the focus was it is again. @param {CachedGroup} group @param {readonly GroupMember[]} members @param {GroupMember | undefined} me */
  function drawMembers(group, members, me) {
    const list = byId('group-list');
    const focused = document.activeElement?.closest('[data-account]')?.getAttribute('data-account');
    place(
      list,
      members.map((member) => memberElement(group, member, me)),
    );
    if (typeof focused !== 'string') return;
    const row = [...list.children].find((one) => one.getAttribute('data-account') === focused);
    const next = row?.querySelector('button') ?? panel.querySelector('button[value=cancel]');
    /** @type {HTMLElement | null} */ (next)?.focus();
  }

  /** @param {CachedGroup} group @param {GroupMember} member @param {GroupMember | undefined} me */
  function memberElement({ type }, member, me) {
    const { account: who, role, mutedUntil, nameCard } = member;
    const isMuted = mutedUntil > Date.now() / 1_000;
    const isOwner = me?.role === 'Owner';
    const may = (isOwner && role !== 'Owner') || (me?.role === 'Admin' && role === 'Member');
    const can = (/** @type {string} */ text, /** @type {(group: string) => Promise<unknown>} */ run) =>
      button(text, 'link', () => void act(run));
    const isPlain = role === 'Member';
    const [isPrivate, isAudience] = [type === 'Private', type === 'AVChatRoom'];
    const acts = make('span', { class: 'acts' });
    if (may && !isPrivate) {
      acts.append(can(isMuted ? 'Unmute' : 'Mute', (group) => groups.mute(group, [who], isMuted ? 0 : muteSec)));
    }
    if (may && !isAudience) acts.append(can('Remove', (group) => groups.remove(group, [who])));
    if (isOwner && may && !isPrivate && !isAudience) {
      const next = isPlain ? 'Admin' : 'Member';
      const name = isPlain ? 'Make admin' : 'Make plain member';
      acts.append(can(name, (group) => groups.modifyMember(group, { account: who, role: next })));
    }
    if (isOwner && may && !isAudience) {
      const run = () => void act((group) => groups.transfer(group, who));
      acts.append(sureButton('Make owner', 'Really hand it on?', 'link', run));
    }
    const notes = [who === account ? 'you' : '', nameCard && nameCard !== who ? who : '', roleText(role)];
    return make(
      'li',
      { 'data-account': who },
      avatar(nameCard || who),
      make('span', { class: 'name' }, nameCard || who),
      make('span', { class: 'fine' }, [...notes, isMuted ? 'muted' : ''].filter(Boolean).join(', ')),
      acts.childElementCount > 0 ? acts : undefined,
    );
  }

  /** @param {CachedGroup} group @param {boolean} isManager */
  function muteAll({ muted }, isManager) {
    const words = make('span', { class: 'fine' }, muted ? 'Only owner and admins may write. ' : '');
    const name = muted ? 'Let everybody write' : 'Mute everybody';
    const change = button(name, 'link', () => void act((group) => groups.modify(group, { muted: !muted })));
    return isManager ? [words, change] : [words];
  }

  /** @param {CachedGroup} group @param {GroupMember | undefined} me */
  function ending({ type }, me) {
    if (me?.role === 'Owner' && type !== 'Private') {
      const run = () => void act((group) => groups.dismiss(group));
      return [sureButton('Dismiss the group', 'Really dismiss it?', 'danger', run)];
    }
    return [sureButton('Leave the group', 'Really leave it?', 'danger', () => void act((group) => groups.quit(group)))];
  }

  const onSubmit = (/** @type {string} */ id, /** @type {() => Promise<unknown>} */ run) => {
    byId(id).onsubmit = (event) => {
      event.preventDefault();
      void run();
    };
  };
  onSubmit('renaming', () => act((group) => groups.modify(group, { name: field('rename').value.trim() })));
  onSubmit('announcing', () => act((group) => groups.modify(group, { notification: field('announce').value.trim() })));
  onSubmit('self', () => act((group) => groups.modifyMember(group, { nameCard: field('card').value.trim() })));
  onSubmit('inviting', async () => {
    if (shown === undefined || !(await invite(shown, field('invite').value, tell))) return;
    field('invite').value = '';
  });
  receive.onchange = () =>
    void act((group) =>
      groups.modifyMember(group, { receive: /** @type {NonNullable<GroupMember['receive']>} */ (receive.value) }),
    );
  panel.onclose = () => {
    shown = undefined;
  };
  cache.onGroupUpdate(draw);
  cache.onGroupDelete((group) => {
    if (group === shown) panel.close();
  });
  for (const on of [cache.onMemberJoin, cache.onMemberUpdate, cache.onMemberQuit]) on(draw);

  return {
    /** Opens the window of a group. @param {string} group @returns whether the account is in it */
    async open(group) {
      shown = group;
      tell('');
      await cache.refresh(group).catch(() => {});
      if (!cache.groups.has(group) || shown !== group) return false;
      for (const id of ['rename', 'announce', 'card', 'invite']) field(id).value = '';
      await draw();
      if (!panel.open) panel.showModal();
      return true;
    },
  };
}
