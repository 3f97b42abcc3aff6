export {
  createMinter,
  type MintedToken,
  type Minter,
  type MinterOptions,
  type MintRequest,
} from './minting/minter.ts';
export { MintingError, type MintingErrorCode, type Policy, type ViewerAttributes } from './minting/policy.ts';
