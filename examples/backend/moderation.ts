/** What this app thinks of messages: the one place where it decides. */
// An app of its own would write 'qalgate/sdk/backend'.
import { type Answers, allow, type MessageElement, refuse, rewrite } from '../../src/sdk/backend/index.ts';

/** A message with one of these is refused. */
const refusedWords = ['scam', 'lottery'];
/** These are put into stars. */
const starredWords = ['darn', 'heck'];
/** The app's own, 120001 … 130000, and 10100 … 10200 in groups: the sender gets it, with the text. */
export const refusalCodes = { oneToOne: 120_001, group: 10_100 };

const refused = new RegExp(`\\b(?:${refusedWords.join('|')})\\b`, 'iu');
const starred = new RegExp(`\\b(?:${starredWords.join('|')})\\b`, 'giu');

export function moderate(body: readonly MessageElement[], refusalCode: number): Answers['C2C.CallbackBeforeSendMsg'] {
  let isChanged = false;
  const changed: MessageElement[] = [];
  for (const element of body) {
    if (element.MsgType !== 'TIMTextElem') {
      changed.push(element);
      continue;
    }
    const { Text } = element.MsgContent;
    const word = refused.exec(Text)?.[0];
    if (word !== undefined) return refuse(refusalCode, `“${word}” is not welcome here.`);
    const cleaned = Text.replace(starred, (found) => '*'.repeat(found.length));
    isChanged ||= cleaned !== Text;
    changed.push({ ...element, MsgContent: { ...element.MsgContent, Text: cleaned } });
  }
  return isChanged ? rewrite(changed) : allow();
}
