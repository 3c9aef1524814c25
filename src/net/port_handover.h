// Closing one of several listeners of a port without losing a connection. Each process that listens with SO_REUSEPORT
// has a queue of its own, and the kernel resets what is in a listener's queue, or on its way to it, when that closes.
// So the process that leaves first makes the kernel give new connections to another listener of the port (a program of
// one instruction attached to the port's group), takes what is still on its way to its own, and only then closes. Which
// number the other listener has in the group nobody tells; a connection to oneself shows where they go. Thread rule:
// the loop's thread. Cost: up to two connections over loopback.
#pragma once

#include <functional>

#include "net/socket.h"

namespace sluice::net {

// Accepts all that wait. Those of `own_port` (0: none) are probes of this process: closed, and told by true.
bool AcceptWaiting(int listener, const std::function<void(int fd)>& start, uint16_t own_port = 0);

// Makes new connections go to another process that listens on the same port. False: there is none.
runtime::Task<bool> SendElsewhere(runtime::Loop& loop, int listener, const std::function<void(int fd)>& start);

}  // namespace sluice::net
