export type { Clock } from './clock.ts';
export { renewingLoader } from './hls.ts';
export {
  createRenewal,
  PlayerRenewalError,
  type PlayerRenewalErrorCode,
  type Refusal,
  type RefusalCode,
  type Renewal,
  type RenewalOptions,
} from './renewal.ts';
