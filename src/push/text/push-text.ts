import type { PushChannel, PushSettings } from '../../store/index.ts';
import type { NoPush, PushMessage, PushReceiver, PushText } from '../message.ts';
import { contentOf, pushLanguageOf } from './content.ts';
import { cutText, type TextLimit } from './cutting.ts';

/** How a push reads (S2, S4, S5; PUSH §1.2, §3.1, §3.2). Pure. */

/** No service takes more. */
export const maxPayloadBytes = 4_096;

/** Of nicknames, name cards and names of groups: they never crowd out what was said. */
const nameLimit: TextLimit = { maxClusters: 30, maxBytes: 256 };
/** Of titles that senders write. */
const titleLimit: TextLimit = { maxClusters: 100, maxBytes: 512 };
const maxSoundChars = 100;
const maxChannelChars = 100;

/** What clients of the 2018 service and its successors write for silence. */
const noSound = 'push.no_sound';

export type TextPart = 'name' | 'group' | 'title' | 'subtitle' | 'content';

/** What a device shows of a message; or why it shows nothing. */
export function pushText(
  message: PushMessage,
  receiver: PushReceiver,
  settings: PushSettings,
  channel: PushChannel,
): PushText | NoPush {
  const composed = composeText(message, receiver, settings, channel);
  return typeof composed === 'string' ? composed : composed.text;
}

/** The same, with the names of what was cut to its own length. */
export function composeText(
  message: PushMessage,
  receiver: PushReceiver,
  settings: PushSettings,
  channel: PushChannel,
): { readonly text: PushText; readonly cuts: readonly TextPart[] } | NoPush {
  const { kind, from, group, body, info } = message;
  // S5
  if (info?.PushFlag === 1) return 'push-flag';

  // With OfflinePushInfo, nothing of a custom element counts for the push.
  const custom =
    info === undefined ? body.find((element) => element.MsgType === 'TIMCustomElem')?.MsgContent : undefined;
  const whole = given(info?.Desc);
  const content =
    whole ??
    contentOf(body, {
      language: pushLanguageOf(receiver.language) ?? settings.language,
      channel,
      ofCustom: info === undefined ? 'shown' : 'ignored',
    });
  if (content === '') return 'no-text';

  const cuts = new Set<TextPart>();
  const cut = (part: TextPart, text: string, limit: TextLimit): string => {
    const done = cutText(text, limit);
    if (done.isCut) cuts.add(part);
    return done.text;
  };
  const isGroup = kind === 'group';
  const isApns = channel === 'apns';
  const hasTitle = !isApns || settings.iosTitle;
  const named = (isGroup ? oneLine(from.card) : undefined) ?? oneLine(from.nick);
  const name = () => cut('name', named ?? oneLine(from.account) ?? '', nameLimit);
  const groupName = () => cut('group', oneLine(group?.name) ?? oneLine(group?.id) ?? '', nameLimit);

  /** S2: who says it, and in which group unless the title says that. */
  const prefixOf = (): string => {
    // The sender wrote the whole text.
    if (whole !== undefined) return '';
    const separator = (settings.separator ?? (settings.line === 'vendor' ? '：' : ': ')).toWellFormed();
    if (isGroup) return `${name()}${hasTitle ? '' : `(${groupName()})`}${separator}`;
    return hasTitle || named === undefined ? '' : `${name()}${separator}`;
  };
  const { ApnsInfo: apns, AndroidInfo: android } = info ?? {};
  const givenTitle = (isApns ? given(apns?.Title) : undefined) ?? given(info?.Title);
  const givenSubtitle = isApns ? given(apns?.SubTitle) : undefined;
  const ownTitle = () => (hasTitle ? given(isGroup ? groupName() : name()) : undefined);
  const said = info === undefined ? (isApns ? custom?.Sound : undefined) : (isApns ? apns : android)?.Sound;
  const image = isApns ? given(apns?.Image)?.toWellFormed() : undefined;

  return {
    text: {
      title: givenTitle === undefined ? ownTitle() : cut('title', givenTitle, titleLimit),
      subtitle: givenSubtitle === undefined ? undefined : cut('subtitle', givenSubtitle, titleLimit),
      prefix: prefixOf(),
      content: cut('content', content, { maxClusters: settings.textLength, maxBytes: maxPayloadBytes }),
      ext: given(custom?.Ext ?? info?.Ext)?.toWellFormed(),
      sound: soundOf(message, receiver, settings, said),
      counts: apns?.BadgeMode !== 1,
      image,
      // An image shows by means of an extension of the app, which gets no other pushes.
      isMutable: isApns && (apns?.MutableContent ?? (image === undefined ? 0 : 1)) === 1,
      channelId: isApns ? undefined : (channelOf(android?.GoogleChannelID) ?? settings.fcm?.channelId),
      // Accounts and groups may have the same names.
      thread: (isGroup ? `group_${group?.id ?? ''}` : `c2c_${from.account}`).toWellFormed(),
    },
    cuts: [...cuts],
  };
}

/** S4: the message's, else the account's, else the app's. */
function soundOf(
  { kind, body }: PushMessage,
  receiver: PushReceiver,
  settings: PushSettings,
  said: string | undefined,
): string | undefined {
  const ofKind = kind === 'group' ? receiver.groupSound : receiver.c2cSound;
  const isVideo = body.some(({ MsgType }) => MsgType === 'TIMVideoFileElem');
  const chosen = (isVideo ? usable(receiver.videoSound) : undefined) ?? usable(ofKind);
  // To a message an empty text says nothing; an account says with it that it wants none.
  const sound = usable(given(said)) ?? chosen ?? settings.sound;
  return sound === '' || sound === noSound ? undefined : sound.toWellFormed();
}

/** Files have shorter names: a longer one is none, rather than the end of the push. */
function usable(sound: string | undefined): string | undefined {
  return sound === undefined || sound.length > maxSoundChars ? undefined : sound;
}

/** Among what OfflinePushInfo may hold besides, so of any type. */
function channelOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= maxChannelChars ? value : undefined;
}

/** Many clients write empty texts for what they leave out. */
function given(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

/**
 * A name as it may stand in front of what was said: no line ends, which would make it look like two messages, and nothing that turns the
 * direction of what follows it. Undefined: nothing of it is left to be seen.
 */
function oneLine(name: string | undefined): string | undefined {
  const line = name?.replace(/[\u202a-\u202e\u2066-\u2069]/g, '').replace(/[\p{Cc}\u2028\u2029]/gu, ' ');
  return line === undefined || line.trim() === '' ? undefined : line;
}
