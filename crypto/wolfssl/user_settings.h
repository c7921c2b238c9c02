/* SPDX-License-Identifier: GPL-3.0-or-later */
/* user_settings - what of wolfSSL is built, and how.
 *
 * build.sh copies this file into the prefix it makes. Whoever includes a wolfSSL header takes
 * the copy there (-DWOLFSSL_USER_SETTINGS -isystem PREFIX/include), never this one: struct
 * layouts depend on it, and a mismatch gives no error, only handshakes that fail.
 * check.c proves what we rely on; it runs once on each library built. Made for wolfSSL 5.9.2.
 */
#ifndef GINNEL_USER_SETTINGS_H
#define GINNEL_USER_SETTINGS_H

/* Platform: what wolfSSL's configure would have found. */
#define HAVE_SYS_TIME_H
#define HAVE_GETADDRINFO 1
#define HAVE_SOCKET      1
#define HAVE___UINT128_T 1
#define SIZEOF_LONG      8
#define SIZEOF_LONG_LONG 8
#define HAVE_THREAD_LS
#define HAVE_GMTIME_R    /* else threads that judge certificates share gmtime's buffer */
#define HAVE_PTHREAD     1
#define WOLFSSL_PTHREADS 1
#define TFM_TIMING_RESISTANT
#define ECC_TIMING_RESISTANT

/* Protocol: TLS 1.3 and DTLS 1.3, nothing older. */
#define WOLFSSL_TLS13
#define WOLFSSL_NO_TLS12
#define NO_OLD_TLS
#define HAVE_TLS_EXTENSIONS
#define HAVE_SUPPORTED_CURVES
#define HAVE_HKDF
#define HAVE_ALPN
#define HAVE_SNI
#define HAVE_MAX_FRAGMENT
#define WOLFSSL_DTLS
#define WOLFSSL_DTLS13
#define WOLFSSL_W64_WRAPPER           /* DTLS 1.3 record numbers */
#define WOLFSSL_DTLS_CID              /* RFC 9146, RFC 9147 section 9 */
#define DTLS_CID_MAX_SIZE         8   /* ours are 4 bytes; longer ones are refused */
#define WOLFSSL_DTLS_CH_FRAG          /* a ClientHello with ML-KEM spans two datagrams */
#define WOLFSSL_DTLS_MTU              /* wolfSSL_dtls_set_mtu */
#define WOLFSSL_SEND_HRR_COOKIE       /* stateless HelloRetryRequest */
#define WOLFSSL_DTLS_WINDOW_WORDS 4   /* of handshakes alone: replay.c is wider, for data */
#define DTLS13_EPOCH_SIZE         8   /* both directions' epochs share one table; 4 can wedge */
#define DTLS13_MIN_RTX_INTERVAL   200 /* ms; a retransmission sooner is skipped in silence */
#define HAVE_SECRET_CALLBACK          /* wolfSSL_set_tls13_secret_cb */
#define HAVE_KEYING_MATERIAL          /* RFC 8446 section 7.5, exporter */
#define NO_PSK
#define NO_SESSION_CACHE
/* Left out on purpose: OPENSSL_EXTRA, HAVE_SESSION_TICKET, WOLFSSL_EARLY_DATA, HAVE_RPK,
 * WOLFSSL_POST_HANDSHAKE_AUTH, HAVE_OCSP, HAVE_SECURE_RENEGOTIATION, WOLFSSL_TRUST_PEER_CERT. */

/* Key exchange: P-256 for certificates, X25519MLKEM768 (0x11ec) and X25519 for keys. */
#define HAVE_ECC
#define ECC_USER_CURVES
#define HAVE_ECC256
#define ECC_SHAMIR
#define HAVE_CURVE25519
#define WOLFSSL_HAVE_MLKEM
#define WOLFSSL_PQC_HYBRIDS
#define WOLFSSL_NO_ML_KEM_512
#define WOLFSSL_NO_ML_KEM_1024
#define WOLFSSL_SHAKE128 /* ML-KEM needs SHA-3 and both SHAKEs */
#define WOLFSSL_SHAKE256
#define WOLFSSL_SHA3

/* Ciphers and hashes. */
#define HAVE_AESGCM
#define HAVE_AES_ECB       /* record number mask, RFC 9147 section 4.2.3 */
#define WOLFSSL_AES_DIRECT /* wc_AesEncryptDirect: one block of it */
#define GCM_TABLE_4BIT     /* for processors without carry-less multiplication */
#define HAVE_CHACHA
#define HAVE_POLY1305
#define HAVE_ONE_TIME_AUTH
#define WOLFSSL_SHA384
#define WOLFSSL_SHA512
#define HAVE_HASHDRBG
#define NO_AES_CBC
#define NO_MD4
#define NO_MD5
#define NO_DES3
#define NO_RC4
#define NO_DSA
#define NO_DH
#define NO_RSA
#define NO_PWDBASED
#define NO_PKCS12

/* Certificates, requests, keys, revocation lists. */
#define WOLFSSL_ASN_TEMPLATE
#define WOLFSSL_ASN_PARSE_KEYUSAGE
#define WOLFSSL_CERT_GEN
#define WOLFSSL_CERT_REQ
#define WOLFSSL_CERT_EXT  /* key usage, extended key usage, key identifiers */
#define WOLFSSL_ALT_NAMES /* subjectAltName in those we make */
#define WOLFSSL_CERT_NAME_ALL
#define WOLFSSL_CUSTOM_OID /* the private extension in those we make (wc_SetCustomExtension) ... */
#define HAVE_OID_ENCODING
#define HAVE_OID_DECODING
#define WC_ASN_UNKNOWN_EXT_CB           /* ... and in those we read (wc_SetUnknownExtCallback) */
#define WOLFSSL_ALLOW_ENCODING_CA_FALSE /* basicConstraints CA:FALSE is written out */
#define WOLFSSL_KEY_GEN                 /* wc_EccKeyToDer, wc_EccKeyToPKCS8 */
#define WOLFSSL_DER_LOAD
#define WOLFSSL_DER_TO_PEM
#define WOLFSSL_PEM_TO_DER
#define WOLFSSL_BASE64_ENCODE
#define WOLFSSL_ALWAYS_VERIFY_CB /* the callback judges good chains too */
#define HAVE_CRL
#define HAVE_EX_DATA

/* Speed. What runs is chosen by cpuid at run time; GINNEL_PORTABLE leaves all of it out. */
#define WOLFSSL_SP_MATH_ALL
#define WOLFSSL_HAVE_SP_ECC
#define WOLFSSL_SP_NO_MALLOC
#if defined(__x86_64__) && !defined(GINNEL_PORTABLE)
#define WOLFSSL_X86_64_BUILD
#define USE_INTEL_SPEEDUP
#define WOLFSSL_AESNI
#define WOLFSSL_SP_X86_64_ASM
#define WOLFSSL_SP_ASM
#define HAVE_INTEL_RDSEED
#elif defined(__aarch64__) && !defined(GINNEL_PORTABLE)
#define SP_WORD_SIZE 64
#define WOLFSSL_SP_ARM64_ASM
#define WOLFSSL_SP_ASM
#endif

/* Less. */
#define WOLFSSL_IGNORE_FILE_WARN
#define NO_WRITEV
#define NO_ERROR_QUEUE

#endif
