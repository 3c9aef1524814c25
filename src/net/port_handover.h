// Closing one of several listeners of a port without losing a connection. Each process that listens with SO_REUSEPORT
// has a queue of its own, and the kernel resets what is in a listener's queue, or on its way to it, when that closes.
// So the process that leaves first makes the kernel give new connections to another listener of the port (a program of
// one instruction attached to the port's group), takes what is still on its way to its own, and only then closes. Which
// number the other listener has in the group nobody tells; a connection to oneself shows where they go.
// Processes that leave at the same time take turns, or one would send connections to another that is about to close:
// who has its turn holds a name of the machine (an abstract socket's), which the kernel frees when it dies.
// Thread rule: the loop's thread. Cost: up to two connections over loopback, and the seconds named below.
#pragma once

#include <functional>

#include "net/socket.h"

namespace sluice::net {

// Accepts all that wait. Those of `own_port` (0: none) are probes of this process: closed, and told by true.
bool AcceptWaiting(int listener, const std::function<void(int fd)>& start, uint16_t own_port = 0);

// Makes new connections go to another process that listens on the same port, accepts what had begun with this one
// (for 1.5 s, and up to 10 s before that while others have their turn), and closes the listener. False: there is no
// other process, and new connections are refused from here on.
runtime::Task<bool> HandOver(runtime::Loop& loop, runtime::DescriptorPtr& listener,
                             const std::function<void(int fd)>& start);

}  // namespace sluice::net
