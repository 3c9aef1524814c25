// NodeText writes a YAML tree back as YAML text in block style, so that a part of one file can be another file.
// Numbers, booleans, null and simple keys stay plain, every other scalar is double-quoted: reading the text gives an
// equal tree. Pure.
#pragma once

#include <string>

#include "codec/yaml/yaml.h"

namespace sluice::control {

std::string NodeText(const codec::yaml::Node& node);

}  // namespace sluice::control
