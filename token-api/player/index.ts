export type { Clock } from './clock.ts';
export { renewingLoader } from './hls.ts';
export {
  createRenewal,
  type Refusal,
  type Renewal,
  RenewalError,
  type RenewalErrorCode,
  type RenewalOptions,
} from './renewal.ts';
