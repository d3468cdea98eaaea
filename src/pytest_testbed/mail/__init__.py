"""Mail: an SMTP server that keeps what it is sent. Nothing in here knows pytest."""
