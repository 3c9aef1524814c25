// Certificates for tests: a self-signed one for localhost and 127.0.0.1, which is its own authority, in files of a
// folder that goes away.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "base/check.h"

namespace sluice::net {

class TlsFixture {
 public:
  TlsFixture() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-tls-XXXXXX").string();
    SLUICE_CHECK(mkdtemp(pattern.data()) != nullptr, "a folder");
    folder_ = pattern;
    Write("first");
  }
  ~TlsFixture() { std::filesystem::remove_all(folder_); }
  TlsFixture(const TlsFixture&) = delete;

  std::string certificate() const { return folder_ / "tls.crt"; }
  std::string key() const { return folder_ / "tls.key"; }

  // Another pair, of this common name, in the same files; or only its certificate, so that they do not fit.
  void Write(const std::string& name, bool with_key = true) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME* subject = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1,
                               -1, 0);
    X509_set_issuer_name(x, subject);
    X509V3_CTX context;
    X509V3_set_ctx(&context, x, x, nullptr, nullptr, 0);
    X509_EXTENSION* names = X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    X509_add_ext(x, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(x, key, EVP_sha256());
    FILE* file = std::fopen(certificate().c_str(), "w");
    PEM_write_X509(file, x);
    std::fclose(file);
    if (with_key) {
      file = std::fopen(this->key().c_str(), "w");
      PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
      std::fclose(file);
    }
    X509_free(x);
    EVP_PKEY_free(key);
  }

 private:
  std::filesystem::path folder_;
  long serial_ = 0;
};

}  // namespace sluice::net
