#!/bin/bash
# Executes the calls of one pool, fetched over HTTP. Each tool is a program of its name in a folder: it gets its arguments
# as JSON on standard input, and what it prints is what the model reads. Needs curl, timeout, and python3 for the JSON.
#   ERRANDRY_KEY=ek_… ./executor.sh http://gateway:8700 remote ./tools
gateway=$1 pool=$2 tools=$3 me=$(hostname | tr -c 'A-Za-z0-9_.\n-' -):$$
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
echo "Content-Type: application/json" > "$work/headers" # in a file, so that no list of processes shows the key
[ -z "$ERRANDRY_KEY" ] || echo "Authorization: Bearer $ERRANDRY_KEY" >> "$work/headers"

fields() { python3 -c 'import json, sys; call = json.load(sys.stdin)
for name in sys.argv[1:]: print(call[name] if type(call[name]) is str else json.dumps(call[name]))' "$@"; }

post() { # PATH: sends standard input and prints the answer. Status 1 where there is nothing more to be said.
  local body answer code; body=$(cat)
  while :; do
    answer=$(curl -sS --max-time 90 -H "@$work/headers" -w '\n%{http_code}' --data-binary @- "$gateway$1" <<< "$body")
    code=${answer##*$'\n'} answer=${answer%$'\n'*}
    case $code in
      200) printf '%s\n' "$answer"; return 0 ;;
      204 | 404 | 409) return 1 ;;
      000 | 5??) sleep 2 ;; # the gateway is away: ask again, in the same words
      *) printf '%s\n' "$answer" >&2; kill $$; return 1 ;;
    esac
  done
}

beat() { # PID: keeps the call while the executor lives, and ends the tool once it is not wanted here any more.
  while sleep "$pause" && kill -0 $$ 2>/dev/null; do
    standing=$(printf '{"lease": "%s"}' "$lease" | post "$path/heartbeat" | fields standing 2>/dev/null)
    [ "$standing" = held ] || { echo "${standing:-lost}" > "$work/stopped"; kill "$1" 2>/dev/null; return; }
  done
}

while :; do
  call=$(printf '{"executor": "%s", "wait_seconds": 30}' "$me" | post "/v1/pools/$pool/claim") || continue
  { read -r tool; read -r path; read -r lease; read -r seconds; read -r lease_seconds; read -r arguments; } \
    < <(fields tool_name path lease timeout_seconds lease_seconds arguments <<< "$call")
  pause=$(awk "BEGIN { print $lease_seconds / 3 }")
  rm -f "$work/stopped"; outcome=failed beating=
  if [[ $tool =~ ^[A-Za-z0-9_-]+$ && -x $tools/$tool ]]; then
    timeout -k 5 "$seconds" "$tools/$tool" > "$work/output" 2>&1 <<< "$arguments" &
    running=$!; beat "$running" & beating=$!
    wait "$running"
    case $? in 0) outcome=succeeded ;; 124 | 137) outcome=timed_out ;; esac
  else
    echo "This executor has no tool named $tool." > "$work/output"
  fi
  case $(cat "$work/stopped" 2>/dev/null) in
    lost) ;;
    cancelled) printf '{"lease": "%s"}' "$lease" | post "$path/release" ;;
    *) head -c 1000000 "$work/output" | python3 -c 'import json, sys; text = sys.stdin.buffer.read().decode("utf-8", "replace")
print(json.dumps({"lease": sys.argv[1], "outcome": sys.argv[2], "content": text}))' "$lease" "$outcome" | post "$path/settle" ;;
  esac > /dev/null
  [ -z "$beating" ] || kill "$beating" 2>/dev/null
done
