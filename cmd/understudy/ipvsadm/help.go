package ipvsadm

const help = `Looks at and changes the kernel's table of IPVS with the options of ipvsadm.

The first option says what to do:
  -A, --add-service SERVICE [service options]      add a virtual service
  -E, --edit-service SERVICE [service options]     set one anew, options that are left out too
  -D, --delete-service SERVICE                     delete one with its real servers
  -C, --clear                                      delete everything
  -a, --add-server SERVICE SERVER [server options] add a real server
  -e, --edit-server SERVICE SERVER [server options] set one anew, options that are left out too
  -d, --delete-server SERVICE SERVER               delete one
  -L, -l, --list [SERVICE] [list options]          list the table, or one service
  -Z, --zero [SERVICE]                             set counters to zero
  -S, --save [-n]                                  print the table as rules
  -R, --restore                                    read such rules from standard input; if one makes no
                                                   sense, nothing is changed
      --set TCP TCPFIN UDP                         set timeouts of connections, in seconds; 0 leaves one
      --start-daemon master|backup [daemon options]  send connections to other directors, or take theirs
      --stop-daemon master|backup
  -h, --help
  -v, --version

SERVICE, ADDRESS:PORT or [ADDRESS]:PORT, names of hosts (in brackets: IPv6) and ports too:
  -t, --tcp-service ADDRESS:PORT
  -u, --udp-service ADDRESS:PORT
      --sctp-service ADDRESS:PORT
  -f, --fwmark-service MARK [-6, --ipv6]           packets with a firewall mark; -6: IPv6

SERVER:
  -r, --real-server ADDRESS[:PORT]                 without a port, that of the service

Service options:
  -s, --scheduler NAME        rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh; default wlc
  -p, --persistent [SECONDS]  a client stays with its server for so long; default 360
  -M, --netmask MASK          clients of one network count as one: 255.255.255.0, or for IPv6 64
      --pe NAME               persistence engine: sip
  -o, --ops                   schedule every datagram by itself
  -b, --sched-flags LIST      sh-port, sh-fallback, mh-port, mh-fallback, or flag-1 to flag-3, with commas

Server options:
  -g, --gatewaying            direct routing (the default)
  -i, --ipip                  tunnel, with
      --tun-type TYPE           ipip (the default), gue or gre
      --tun-port PORT           of gue
      --tun-nocsum, --tun-csum, --tun-remcsum
  -m, --masquerading          NAT
  -w, --weight NUMBER         default 1; 0 takes no new connections
  -x, --u-threshold NUMBER    no new connections above so many; 0: no limit
  -y, --l-threshold NUMBER    and again below so many

List options:
  -n, --numeric               numbers instead of names
      --stats, --rate         counters, or counters per second
  -X, --exact                 counters in full
      --thresholds, --persistent-conn, --tun-info  other columns
      --nosort                in the kernel's order
  -c, --connection            connections instead of the table
      --timeout, --daemon     timeouts, or sync daemons instead of the table

Daemon options:
      --mcast-interface NAME  default eth0
      --mcast-group ADDRESS, --mcast-port PORT, --mcast-ttl NUMBER
      --syncid NUMBER         0 to 255
      --sync-maxlen BYTES     of a message

Exit status: 0; 1 for -L of a service that does not exist; 2 for a command line that makes no sense, or without
access to IPVS; 255 for what the kernel refuses.
`
