/** What a client that says nothing else reports as its SDK's version; that of package.json. */
export const sdkVersion = '0.1.0';
