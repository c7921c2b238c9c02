#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# make.sh - what somebody's own PKI gives out, made by openssl; tests/unit/cert.c reads it.
#
# The files are kept, so that the test needs no openssl and sees the same bytes each time. The keys
# are of use to nobody: they were in the open from the start.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
days=36500 p256=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1)
ca=(-addext 'basicConstraints=critical,CA:true' -addext 'keyUsage=critical,keyCertSign,cRLSign')
leaf() { # NAME: the extensions of a node
	printf '%s\n' 'basicConstraints=critical,CA:false' 'keyUsage=critical,digitalSignature' \
		'extendedKeyUsage=clientAuth,serverAuth' "subjectAltName=URI:spiffe://bench/node/$1" \
		'subjectKeyIdentifier=hash' 'authorityKeyIdentifier=keyid'
}
request() { # NAME
	openssl req -new "${p256[@]}" -nodes -keyout "$1.key" -subj "/OU=node/CN=$1" -out "$1.req"
}
sign() { # NAME CA-CERT CA-KEY: extensions from stdin
	openssl x509 -req -in "$1.req" -CA "$2" -CAkey "$3" -days "$days" -extfile /dev/stdin -out "$1.pem"
	rm "$1.req"
}

openssl req -x509 "${p256[@]}" -nodes -keyout ca.key -subj '/O=bench/CN=bench ca' -days "$days" \
	"${ca[@]}" -out ca.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -keyout p384.key \
	-subj '/CN=bench ca' -days "$days" "${ca[@]}" -out p384-ca.pem
openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -subj '/CN=bench ca' -days "$days" \
	"${ca[@]}" -out rsa-ca.pem

# A node, with extensions that nobody here knows.
request n1
{ leaf n1; echo '1.2.3.4=ASN1:UTF8String:whatever'; echo 'nsComment=made by openssl'; } |
	sign n1 ca.pem ca.key
openssl req -new -key n1.key -subj '/OU=node/CN=n1' -addext 'subjectAltName=DNS:n1.example' \
	-outform der -out n1.csr

# One under an intermediate, its key in the older form with the curve before it.
openssl req -new "${p256[@]}" -nodes -keyout sub.key -subj '/O=bench/CN=sub' -out sub.req
printf '%s\n' 'basicConstraints=critical,CA:true,pathlen:0' 'keyUsage=critical,keyCertSign' |
	sign sub ca.pem ca.key
openssl ecparam -name prime256v1 -genkey -out n2.key
openssl req -new -key n2.key -subj '/OU=node/CN=n2' -out n2.req
leaf n2 | sign n2 sub.pem sub.key
cat n2.pem sub.pem ca.pem >under.pem
rm n2.pem sub.pem sub.key

# To be refused: an unknown critical extension; no extensions at all, which makes it version 1.
request n3
{ leaf n3; echo '1.2.3.4=critical,ASN1:UTF8String:whatever'; } | sign n3 ca.pem ca.key
mv n3.pem critical.pem
request n4
openssl x509 -req -in n4.req -CA ca.pem -CAkey ca.key -days "$days" -out v1.pem
rm n4.req n3.key n4.key
openssl pkcs8 -topk8 -in n1.key -passout pass:secret -out encrypted.key
rm ca.key
