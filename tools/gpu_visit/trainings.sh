#!/usr/bin/env bash
# Several trainings at once, which outlast the visit that starts them.
#   trainings.sh start KEPT DEVICE CAMVID WEIGHTS    those that do not run yet; a run that was ended goes on
#   trainings.sh show KEPT                           the last lines of what each said and logged
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
  setsid nohup python3 -m refinenet train --variant lw-mobilenetv2 --quiet --data "$camvid" --device "$device" \
    --output "$runs/$name" --resume --precision bf16 --workers 4 --validate-every 4 "$@" \
    >>"$runs/$name.txt" 2>&1 </dev/null &
  echo $! >"$runs/$name.pid"
  echo "started: $name"
}

case $verb in
start)
  device=$3 camvid=$4 weights=$5
  backbone=(--backbone-weights "$weights/mobilenetv2_imagenet_tvkeys.pth")
  # So few epochs that they end within the visits: the learning rate falls to nothing by the last one.
  start_one plain "${backbone[@]}" --epochs 40
  start_one batch-16 "${backbone[@]}" --epochs 40 --batch 16
  start_one median "${backbone[@]}" --epochs 40 --class-weights median
  ;;
show)
  tail -n 1 "$runs"/*.txt "$runs"/*/log.csv 2>/dev/null
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
