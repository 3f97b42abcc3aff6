/** What came out of a mezzanine: hashes are SHA-256 in hexadecimal, lengths in bytes. */
export interface EncodingChain {
  /** Which encoding of the title it is: `360p`. */
  name: string;
  mezzanine?: { bytes: number; sha256: string };
  master?: {
    mode: string;
    keyBits: number;
    bytes: number;
    sha256: string;
    manifestSha256: string;
    /** ARN of the KMS key that the data key is under, and the hash of the data key as KMS encrypted it. */
    kmsKeyId: string;
    encryptedKeySha256: string;
  };
}

/** A content key of a package: never the key itself. */
export interface ContentKeyChain {
  name: string;
  kmsKeyId: string;
  encryptedKeySha256: string;
  /** How many segments are encrypted with it. */
  segments: number;
}

/** A render in an enclave, by its verified receipt. Hashes in hexadecimal. */
export interface RenderChain {
  jobId: string;
  /** Of the launch, and its registers. */
  moduleId: string;
  pcrs: Record<string, string>;
  /** SHA-256 of the root that the attestation comes from. */
  root: string;
  simulated: boolean;
  manifestSha384: string;
  receiptSha256: string;
  /** What the receipt proves and what it does not, a sentence a line. */
  proven: string[];
  /** The entries of the owner's audit log about it: SHA-256 of each line, which the next line holds. */
  audit: { sequence: number; event: string; sha256: string }[];
}

/** The links by which a title comes from its mezzanine to the edge, in order. */
export type ChainLink = 'mezzanine' | 'render' | 'master' | 'package';

/** How the title of the stack came to the edge, as far as it did, for people to follow: names, hashes and key ids. */
export interface TitleChain {
  /** Id of the asset. */
  title: string;
  encodings: EncodingChain[];
  /** Absent when it was mastered as the mezzanines are. */
  render?: RenderChain;
  package?: {
    container: string;
    encryption: string;
    renditions: { name: string; codecs: string; segments: number }[];
    keys: ContentKeyChain[];
  };
  /** Where it broke off: this link and those after it were not run, and the committed title is served, in clear. */
  failure?: { link: ChainLink; why: string };
}
