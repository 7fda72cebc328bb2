"""tls N: one handshake, and N messages that one end writes and the other reads, all within this process."""

import ssl
import sys


def ends():
    # Neither has a certificate: that is what these ciphers are for.
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    for context in (client, server):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AECDH:@SECLEVEL=0")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    return client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)


client, server = ends()
waiting = [client, server]
while waiting:
    end = waiting.pop(0)
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        waiting.append(end)
for _ in range(int(sys.argv[1])):
    client.write(b"x" * 101)
    server.read(101)
