"""HTTP: mocks in this process, stub services, the application live, its client. Nothing in here knows pytest."""
