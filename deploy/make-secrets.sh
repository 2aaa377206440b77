#!/bin/sh
# Makes the secrets of docker-compose.yml: random, once; those that are there stay. Run: sh deploy/make-secrets.sh [FOLDER]
# The folder lets nobody in but its owner; the files in it are readable, since containers read them as users of their own.
set -eu
folder=${1:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for name in logproc_token logproc_password elastic_password kibana_password kibana_key grafana_password; do
    [ -s "$folder/$name" ] && continue
    head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$folder/$name"
    chmod 444 "$folder/$name"
    echo "made $folder/$name"
done
# For models that ask for a login at the model hub: put your token there.
[ -e "$folder/hf_token" ] || { : >"$folder/hf_token"; chmod 444 "$folder/hf_token"; }
