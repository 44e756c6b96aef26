import type { SdkAppId } from '../wire/index.ts';

/**
 * For subjects of apps the moment up to which their sessions have ended. In memory, bounded, monotonic: a moment only moves
 * forward. When full, the entry added first is forgotten and its moment becomes a floor for its whole app: sessions from
 * before it have then ended for everyone there. So being full costs clients a renewal and never lets an ended session live.
 */
export interface RevokedBefore {
  /** @returns false when the bound made it forget another entry. */
  add(sdkAppId: SdkAppId, subject: string, revokedBeforeMs: number): boolean;
  /** The moment for this subject; sessions issued at or before it have ended. */
  get(sdkAppId: SdkAppId, subject: string): number | undefined;
  /** Forgets moments before this one: no session from before them can still live. */
  prune(beforeMs: number): void;
  readonly size: number;
}

interface AppEntries {
  moments: Map<string, number>;
  floorMs: number | undefined;
}

export function createRevokedBefore(options: { maxEntries: number }): RevokedBefore {
  const apps = new Map<SdkAppId, AppEntries>();
  let size = 0;

  function remove(entries: AppEntries, subject: string): void {
    if (entries.moments.delete(subject)) size--;
  }

  /** Forgets the first entry of the app that has most. */
  function makeRoom(): void {
    let fullest: AppEntries | undefined;
    for (const entries of apps.values()) {
      if (entries.moments.size > (fullest?.moments.size ?? 0)) fullest = entries;
    }
    const first = fullest?.moments.entries().next().value;
    if (fullest === undefined || first === undefined) return;
    const [subject, moment] = first;
    remove(fullest, subject);
    fullest.floorMs = Math.max(fullest.floorMs ?? moment, moment);
  }

  return {
    add(sdkAppId, subject, revokedBeforeMs) {
      let entries = apps.get(sdkAppId);
      if (entries === undefined) {
        entries = { moments: new Map(), floorMs: undefined };
        apps.set(sdkAppId, entries);
      }
      const known = this.get(sdkAppId, subject);
      if (known !== undefined && known >= revokedBeforeMs) return true;
      // Set anew rather than in place, so that the first entry is about the oldest.
      remove(entries, subject);
      entries.moments.set(subject, revokedBeforeMs);
      size++;
      if (size <= options.maxEntries) return true;
      makeRoom();
      return false;
    },

    get(sdkAppId, subject) {
      const entries = apps.get(sdkAppId);
      if (entries === undefined) return undefined;
      const moment = entries.moments.get(subject);
      if (entries.floorMs === undefined) return moment;
      return moment === undefined ? entries.floorMs : Math.max(moment, entries.floorMs);
    },

    prune(beforeMs) {
      for (const [sdkAppId, entries] of apps) {
        for (const [subject, moment] of entries.moments) if (moment < beforeMs) remove(entries, subject);
        if (entries.floorMs !== undefined && entries.floorMs < beforeMs) entries.floorMs = undefined;
        if (entries.moments.size === 0 && entries.floorMs === undefined) apps.delete(sdkAppId);
      }
    },

    get size() {
      return size;
    },
  };
}
