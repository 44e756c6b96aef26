/** Names and values of the `QAL-*` request headers that an app's backend receives (rules A2–A10, A13). */

/** The header by which a client proves its session to us; it never reaches a backend. */
export const sessionHeader = 'QAL-Session';

/** Radio technologies and the generation that each stands for; null: no QAL-RAT-Generation header (A7, A8). */
export const ratGenerations = {
  UNKNOWN: null,
  GPRS: '2',
  EDGE: '2',
  UMTS: '3',
  CDMA: '2',
  'EVDO Rel. 0': '3',
  'EVDO Rev. A': '3',
  '1xRTT': '2',
  HSDPA: '3',
  HSUPA: '3',
  HSPA: '3',
  iDEN: '2',
  'EVDO Rev. B': '3',
  LTE: '4',
  eHRPD: '3',
  'HSPA+': '3',
  CDMA1x: '2',
  WCDMA: '3',
  Undefine: null,
  NR: '5',
} as const satisfies Record<string, string | null>;

export type Rat = keyof typeof ratGenerations;
export const rats = /* @__PURE__ */ Object.keys(ratGenerations) as Rat[];

/** Operating systems of QAL-OS (A9). */
export const operatingSystems = [
  'Android',
  'iOS',
  'OS X',
  'Windows Phone',
  'Web',
  'Windows',
  'Linux',
  'HarmonyOS',
] as const;
export type OperatingSystem = (typeof operatingSystems)[number];

/** What a client says of its device when it asks for a session. */
export interface DeviceReport {
  sdkVersion?: string;
  appVersion?: string;
  appChannel?: string;
  os?: OperatingSystem;
  osVersion?: string;
  device?: string;
  brand?: string;
  /** Pixels. */
  screenWidth?: number;
  /** Pixels. */
  screenHeight?: number;
  imei?: string;
  imsi?: string;
}

/** What a client says of its network; may change during a session (A12). */
export interface NetworkReport {
  /** `wifi`, or the carrier's access point name (A6). */
  apn?: string;
  rat?: Rat;
}
