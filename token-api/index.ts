export { type MintingKey, TokenError, type TokenErrorCode } from '../token/index.ts';
export { currentKey, KeyRingError, type KeyRingErrorCode } from './key-ring/key-ring.ts';
export { type LoadedPolicy, loadPolicy, type PolicyLimits } from './minting/loaded-policy.ts';
export {
  createMinter,
  type MintedToken,
  type Minter,
  type MinterOptions,
  type MintRequest,
} from './minting/minter.ts';
export { MintingError, type MintingErrorCode, type Policy, type ViewerAttributes } from './minting/policy.ts';
