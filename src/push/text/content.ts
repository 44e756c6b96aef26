import type { PushChannel } from '../../store/index.ts';
import type { MessageElement, MessageType } from '../../wire/index.ts';

/** What elements of a message are called where they are no text (PUSH §3.1). */

export type PushLanguage = 'zh' | 'en';

const words: Readonly<Partial<Record<MessageType, Readonly<Record<PushLanguage, string>>>>> = {
  TIMLocationElem: { zh: '[位置]', en: '[Location]' },
  TIMFaceElem: { zh: '[表情]', en: '[Face]' },
  TIMSoundElem: { zh: '[语音]', en: '[audio]' },
  TIMFileElem: { zh: '[文件]', en: '[file]' },
  TIMImageElem: { zh: '[图片]', en: '[image]' },
  TIMVideoFileElem: { zh: '[视频]', en: '[Video]' },
};

/** The language of a BCP 47 tag, or of a locale as Android writes it (`zh_CN`); undefined: neither of ours. */
export function pushLanguageOf(tag: string | undefined): PushLanguage | undefined {
  const language = tag?.split(/[-_]/, 1)[0]?.toLowerCase();
  return language === 'zh' || language === 'en' ? language : undefined;
}

/** The texts of the elements, in order and with nothing between them; empty: there is nothing to show. */
export function contentOf(
  body: readonly MessageElement[],
  { language, channel, ofCustom }: { language: PushLanguage; channel: PushChannel; ofCustom: 'shown' | 'ignored' },
): string {
  return body
    .map((element) => {
      if (element.MsgType === 'TIMTextElem') return element.MsgContent.Text;
      if (element.MsgType !== 'TIMCustomElem') return words[element.MsgType]?.[language] ?? '';
      const { Desc: desc = '' } = element.MsgContent;
      if (desc === '' || ofCustom === 'ignored') return '';
      return channel === 'fcm' ? `[${desc}]` : desc;
    })
    .join('');
}
