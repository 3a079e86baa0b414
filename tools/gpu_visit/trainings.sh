#!/usr/bin/env bash
# Several trainings at once, which outlast the visit that starts them.
#   trainings.sh start KEPT DEVICE CAMVID WEIGHTS    those that do not run yet; a run that was ended goes on
#   trainings.sh show KEPT                           the last line of each log
#   trainings.sh end KEPT                            stop them; every epoch that was done is kept
set -uo pipefail
verb=$1 kept=$2
runs=$kept/runs
mkdir -p "$runs"

# start_one NAME OPTIONS…
start_one() {
  local name=$1
  shift
  if [ -f "$runs/$name.pid" ] && kill -0 "$(cat "$runs/$name.pid")" 2>/dev/null; then
    return
  fi
  # A session of its own: what belongs to the visit's command ends with it.
  setsid nohup python3 -m refinenet train --quiet --data "$camvid" --output "$runs/$name" --device "$device" \
    --precision bf16 --workers 3 --resume "$@" >>"$runs/$name.txt" 2>&1 </dev/null &
  echo $! >"$runs/$name.pid"
  echo "started: $name"
}

case $verb in
start)
  device=$3 camvid=$4 weights=$5
  backbone=(--backbone-weights "$weights/mobilenetv2_imagenet_tvkeys.pth")
  start_one lw-mobilenetv2 --variant lw-mobilenetv2 "${backbone[@]}" --epochs 200
  start_one lw-mobilenetv2-large-batch --variant lw-mobilenetv2 "${backbone[@]}" --epochs 200 --batch 16
  start_one lw-50 --variant lw-50 --epochs 100
  ;;
show)
  for log in "$runs"/*/log.csv; do
    [ ! -f "$log" ] || echo "$log: $(head -n 1 "$log"): $(tail -n 1 "$log")"
  done
  ;;
end)
  for file in "$runs"/*.pid; do
    [ -f "$file" ] || continue
    kill -TERM -- "-$(cat "$file")" 2>/dev/null && echo "ended: $(basename "$file" .pid)"
    rm "$file"
  done
  ;;
*)
  echo "$verb is none of start, show, end" >&2
  exit 2
  ;;
esac
