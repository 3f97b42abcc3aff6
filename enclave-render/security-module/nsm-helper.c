/*
 * The way from a pipe to the Nitro security module: Node cannot do an ioctl. Reads requests from standard input and
 * writes answers to standard output, each as 4 bytes of length, big-endian, and that many bytes of CBOR, which are
 * handed on as they are (docs/enclave.md). What the device refuses itself is answered as AWS's library does it,
 * {"Error": …}.
 *
 * Ends with 0 when its input ends, 69 when there is no device, 65 when a frame is empty, too long or cut off, 74 when
 * it cannot write.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Linux, include/uapi/linux/nsm.h; not every libc has it. */
#define NSM_REQUEST_MAX_SIZE 0x1000
#define NSM_RESPONSE_MAX_SIZE 0x3000

struct nsm_iovec {
	uint64_t addr;
	uint64_t len;
};

struct nsm_raw {
	struct nsm_iovec request;
	struct nsm_iovec response;
};

#define NSM_IOCTL_RAW _IOWR(0x0A, 0x0, struct nsm_raw)

_Static_assert(sizeof(struct nsm_raw) == 32, "the ioctl has the size in its number");

enum { EXIT_DATA = 65, EXIT_NO_DEVICE = 69, EXIT_WRITE = 74 };

static const char TOO_LARGE[] = "\xa1\x65" "Error" "\x6d" "InputTooLarge";
static const char INTERNAL[] = "\xa1\x65" "Error" "\x6d" "InternalError";

/* Reads all of it: 1, or 0 at the end before the first byte, or -1 at the end or an error after it. */
static int read_all(uint8_t *bytes, size_t count)
{
	size_t done = 0;
	while (done < count) {
		ssize_t n = read(STDIN_FILENO, bytes + done, count - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && done == 0 ? 0 : -1;
		done += (size_t)n;
	}
	return 1;
}

static int write_all(const uint8_t *bytes, size_t count)
{
	size_t done = 0;
	while (done < count) {
		ssize_t n = write(STDOUT_FILENO, bytes + done, count - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

/* One exchange with the device; the length of the answer in `response`. */
static size_t ask(int device, uint8_t *request, size_t count, uint8_t *response)
{
	struct nsm_raw message = {
		.request = { .addr = (uint64_t)(uintptr_t)request, .len = count },
		.response = { .addr = (uint64_t)(uintptr_t)response, .len = NSM_RESPONSE_MAX_SIZE },
	};
	if (ioctl(device, NSM_IOCTL_RAW, &message) == 0 && message.response.len > 0 &&
	    message.response.len <= NSM_RESPONSE_MAX_SIZE)
		return (size_t)message.response.len;
	const char *refusal = errno == EMSGSIZE ? TOO_LARGE : INTERNAL;
	memcpy(response, refusal, sizeof(TOO_LARGE) - 1);
	return sizeof(TOO_LARGE) - 1;
}

_Static_assert(sizeof(TOO_LARGE) == sizeof(INTERNAL), "both refusals are of one length");

int main(void)
{
	static uint8_t request[NSM_REQUEST_MAX_SIZE];
	static uint8_t frame[4 + NSM_RESPONSE_MAX_SIZE];

	/* Nobody needs to look into it, and it starts nothing. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

	int device = open("/dev/nsm", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return EXIT_NO_DEVICE;

	for (;;) {
		uint8_t field[4];
		int got = read_all(field, sizeof(field));
		if (got <= 0)
			return got == 0 ? 0 : EXIT_DATA;
		size_t count = (size_t)field[0] << 24 | (size_t)field[1] << 16 | (size_t)field[2] << 8 | field[3];
		if (count == 0 || count > sizeof(request) || read_all(request, count) != 1)
			return EXIT_DATA;

		errno = 0;
		size_t length = ask(device, request, count, frame + 4);
		frame[0] = 0;
		frame[1] = 0;
		frame[2] = (uint8_t)(length >> 8);
		frame[3] = (uint8_t)length;
		if (write_all(frame, 4 + length) != 0)
			return EXIT_WRITE;
	}
}
