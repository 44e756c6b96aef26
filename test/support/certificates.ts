/** What the sandbox of pushes makes for itself is what tests need. */
export { createCertificate, type MadeCertificate as TestCertificate } from '../../src/push/sandbox/certificate.ts';
