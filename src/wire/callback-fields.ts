import type { OptPlatform } from './callbacks.ts';

/** Fields of callbacks by the vendor's names. Pure: what tells of an action later makes the same of it as what asks before. */

const optPlatforms: Readonly<Record<string, OptPlatform>> = {
  iOS: 'iOS',
  iPad: 'IPad',
  Android: 'Android',
  Web: 'Web',
  Windows: 'Windows',
  Mac: 'Mac',
  Linux: 'Linux',
};

/** A kind of terminal as `OptPlatform`. */
export function optPlatformOf(platform: string): OptPlatform {
  return Object.hasOwn(optPlatforms, platform) ? (optPlatforms[platform] as OptPlatform) : 'Unkown';
}
