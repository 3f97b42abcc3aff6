import type { AttestationProfile } from './attestation-document.ts';

/** What differs between the modules whose documents have this structure. */
interface ProfileRow {
  /** The field of the payload that holds the registers. */
  field: string;
  /**
   * Registers of which a policy names at least one: they measure the code that runs. Of Nitro that is PCR0 alone: PCR8 is the key
   * that an image was signed with, so that it lets in every image of that key. Of NitroTPM PCR0 and PCR1 are the same on every
   * machine; PCR4 is what was booted, PCR7 whose signature was asked of it (AWS EC2 user guide, "NitroTPM Attestation Document
   * contents").
   */
  decisive: readonly string[];
  /** Registers that are never zero when something was measured; of an enclave in debug mode they are. */
  measured: readonly string[];
}

export const PROFILES: Record<AttestationProfile, ProfileRow> = {
  nitro: { field: 'pcrs', decisive: ['0'], measured: ['0', '1', '2'] },
  nitrotpm: { field: 'nitrotpm_pcrs', decisive: ['4', '7'], measured: ['0', '1', '2', '3', '4', '5', '6', '7'] },
};
