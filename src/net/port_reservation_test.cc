#include "net/port_reservation.h"

#include <gtest/gtest.h>

#include "net/socket.h"
#include "runtime/loop.h"

namespace sluice::net {
namespace {

TEST(PortReservation, KeepsOthersOutAndLetsItsProcessIn) {
  runtime::Loop loop;
  const auto port = PortReservation::Take({"127.0.0.1", 0}, PortReservation::TakenBy::kAnySocket);
  ASSERT_TRUE(port);
  EXPECT_NE(port->address().port, 0);
  EXPECT_FALSE(PortReservation::Take(port->address(), PortReservation::TakenBy::kAnySocket));
  for (int restart = 0; restart < 2; ++restart) {
    const auto listener = Listen(loop, port->address());
    ASSERT_TRUE(listener) << listener.error().message;
    const auto taken = PortReservation::Take(port->address(), PortReservation::TakenBy::kListener);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, Code::kConflict);
  }
  const auto shared = Listen(loop, port->address(), /*reuse_port=*/true);
  EXPECT_TRUE(shared) << "a gateway with several shards: " << shared.error().message;
}

TEST(PortReservation, SkipsTakenPortsAndSaysWhenThereAreTooFew) {
  const auto first = PortReservation::Take({"127.0.0.1", 0}, PortReservation::TakenBy::kAnySocket);
  ASSERT_TRUE(first);
  const auto above = ReservePortsAbove("127.0.0.1", static_cast<uint16_t>(first->address().port - 1), 2);
  ASSERT_TRUE(above);
  EXPECT_GT((*above)[0].address().port, first->address().port);
  EXPECT_GT((*above)[1].address().port, (*above)[0].address().port);
  EXPECT_FALSE(ReservePortsAbove("127.0.0.1", 65535, 1));
}

}  // namespace
}  // namespace sluice::net
