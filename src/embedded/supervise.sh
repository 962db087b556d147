# Runs a Postgres server for a meter-sync process, for as long as that process lives:
#   sh -c THIS name home stop-signal keep|remove postgres argument...
# Standard input is a pipe. A line on it is a port to start the server on; when it closes, by
# whatever death of the process that holds its other end, the server stops and, when asked for,
# its directory goes. `home/port`, `home/pid` and `home/exited` say how the server is.
home=$1 stop=$2 after=$3
shift 3
trap '' HUP INT TERM

running() { [ -s "$home/pid" ] && [ ! -e "$home/exited" ]; }

while IFS= read -r port; do
    echo "$port" >"$home/port"
    {
        "$@" -p "$port" &
        echo "$!" >"$home/pid"
        wait "$!"
        echo "$?" >"$home/exited"
    } </dev/null &
    until [ -s "$home/pid" ]; do sleep 0.01; done
done

for signal in "$stop" QUIT KILL; do
    running || break
    pid=$(cat "$home/pid")
    kill -s "$signal" "$pid"
    # a frozen server, and its own processes, must run to hear of it
    kill -s CONT "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
    tries=0
    while running && [ "$tries" -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
done
[ "$after" = keep ] || rm -rf -- "$home"
